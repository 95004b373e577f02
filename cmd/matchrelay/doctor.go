package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// checkStatus is how a check ended.
type checkStatus string

const (
	checkOK      checkStatus = "ok"
	checkWarn    checkStatus = "warn"
	checkFail    checkStatus = "fail"
	checkSkipped checkStatus = "skipped"
)

// check is the result of one of the doctor's checks. Fields are added, never renamed.
type check struct {
	Name   string      `json:"name"`
	Status checkStatus `json:"status"`
	Found  string      `json:"found"`
	Mend   string      `json:"mend"` // what to do, "" when there is nothing to be done

	finds, mends []string
}

// A check may find several things: all are told, and the worst decides.

func (c *check) ok(format string, args ...any) { c.add(checkOK, "", format, args...) }

func (c *check) warn(mend, format string, args ...any) { c.add(checkWarn, mend, format, args...) }

func (c *check) fail(mend, format string, args ...any) { c.add(checkFail, mend, format, args...) }

func (c *check) skip(format string, args ...any) { c.add(checkSkipped, "", format, args...) }

func (c *check) add(v checkStatus, mend, format string, args ...any) {
	rank := map[checkStatus]int{"": -1, checkSkipped: 0, checkOK: 1, checkWarn: 2, checkFail: 3}
	if rank[v] > rank[c.Status] {
		c.Status = v
	}
	if found := oneLine(fmt.Sprintf(format, args...)); !slices.Contains(c.finds, found) {
		c.finds = append(c.finds, found)
		c.Found = strings.Join(c.finds, "; ")
	}
	if mend != "" && !slices.Contains(c.mends, mend) {
		c.mends = append(c.mends, mend)
		c.Mend = strings.Join(c.mends, "; ")
	}
}

// checkReport is the result of the doctor command. Fields are added, never renamed.
type checkReport struct {
	Checks  []check `json:"checks"`
	OK      int     `json:"ok"`
	Warn    int     `json:"warn"`
	Fail    int     `json:"fail"`
	Skipped int     `json:"skipped"`
}

func newCheckReport(checks []check) checkReport {
	r := checkReport{Checks: checks}
	for _, c := range checks {
		switch c.Status {
		case checkOK:
			r.OK++
		case checkWarn:
			r.Warn++
		case checkFail:
			r.Fail++
		default:
			r.Skipped++
		}
	}
	return r
}

func (a *app) doctorCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check settings, outbox file and Redis, and say what to mend",
		Long: `Doctor checks all that must be right between this machine, the outbox file and Redis: settings, file, previous list,
disk, limit of open files and clock; connection, version, role, rights, memory, persistence, limits, subscribers and high-water marks. It changes nothing,
publishes nothing and needs no right that the relay does not need; what takes more it says cannot be seen.

It exits with 1 when a check failed (with --strict also when one warns), and with 4 when Redis cannot be reached.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), strict) },
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 when a check warns, too")
	return cmd
}

func (a *app) doctor(ctx context.Context, strict bool) error {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	p := examinePatient(ctx, cfg)
	if err := ctx.Err(); err != nil {
		return err
	}
	report := newCheckReport(p.checks())
	if err := a.printChecks(report); err != nil {
		return err
	}
	switch {
	case p.down != nil:
		return exit(exitUnreachable, errors.New("cannot use Redis as it is; mend the connection, then run: matchrelay doctor"))
	case report.Fail > 0:
		return exit(exitFailure, fmt.Errorf("%s failed; mend what is said there, then run: matchrelay doctor", count(report.Fail, "check")))
	case report.Warn > 0 && strict:
		return exit(exitFailure, fmt.Errorf("%s (--strict); see what is said there", count(report.Warn, "warning")))
	}
	return nil
}

func (a *app) printChecks(report checkReport) error {
	if a.output == formatJSONL {
		for _, c := range report.Checks {
			if err := a.printJSON(c); err != nil {
				return err
			}
		}
		return nil
	}
	return a.print(report, func(w io.Writer) {
		p := a.colors(a.stdout)
		paint := map[checkStatus]func(string) string{checkOK: p.green, checkWarn: p.yellow, checkFail: p.red, checkSkipped: p.faint}
		t := newTable()
		for _, c := range report.Checks {
			t.AppendRow([]any{c.Name, painted(paint[c.Status](string(c.Status))), c.Found})
			for _, mend := range c.mends {
				t.AppendRow([]any{"", "", "  -> " + mend})
			}
		}
		render(w, t)
		fmt.Fprintf(w, "\n%d ok, %s, %d failed, %d skipped\n", report.OK, count(report.Warn, "warning"), report.Fail, report.Skipped)
	})
}
