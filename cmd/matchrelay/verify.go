package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
)

// verifyLimit is how long verifying a file may take unless --timeout says otherwise: a gigabyte takes some seconds.
const verifyLimit = 10 * time.Minute

// verification is what the child process that verifies a file writes to its standard output.
type verification struct {
	outbox.Report
	Error string `json:"error"` // why it could not be read; "" when it was
	Code  int    `json:"code"`  // exit code for Error
}

// verifyFileCommand is what the child runs. It ends by itself some time after its limit, should its parent be gone.
func (a *app) verifyFileCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "verify-file FILE LIMIT",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := time.ParseDuration(args[1])
			if err != nil {
				return usageError(err)
			}
			defer time.AfterFunc(limit+time.Second, func() { os.Exit(exitUnverified) }).Stop()
			var v verification
			if v.Report, err = outbox.VerifyFileWith(changes.VerifyState)(cmd.Context(), args[0]); err != nil {
				v.Code, v.Error = explain(err)
			}
			return json.NewEncoder(a.stdout).Encode(v)
		},
	}
}

// verifier verifies a file in a process of its own, within a time limit: reading a file that is truncated meanwhile ends
// the process that does it, and damaged pages can lead bbolt in circles. What ends the child is a problem of the report.
func (a *app) verifier(limit time.Duration) outbox.VerifyFunc {
	return func(ctx context.Context, path string) (outbox.Report, error) {
		none := outbox.Report{Problems: []string{}}
		path, err := filepath.Abs(path)
		if err != nil {
			return none, err
		}
		program, err := os.Executable()
		if err != nil {
			return none, fmt.Errorf("verify %s: find this program: %w", path, err)
		}
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		child := exec.CommandContext(limited, program)
		child.Args = []string{a.name, "verify-file", "--", path, limit.String()}
		child.WaitDelay = time.Second
		var stdout bytes.Buffer
		child.Stdout = &stdout // what a process that crashes writes to standard error helps nobody
		ended := child.Run()
		var v verification
		switch err := json.Unmarshal(stdout.Bytes(), &v); {
		case ctx.Err() != nil:
			return none, fmt.Errorf("verify %s: %w", path, ctx.Err())
		case limited.Err() != nil:
			none.Problems = append(none.Problems, fmt.Sprintf("it was not verified within %v: damage may lead in circles; for a large file, give more --timeout", limit))
			return none, nil
		case ended != nil && child.ProcessState == nil:
			return none, fmt.Errorf("verify %s: start a process for it: %w", path, ended)
		case ended != nil || err != nil:
			none.Problems = append(none.Problems, fmt.Sprintf("reading it ended the process that did (%v): it is damaged or was truncated", child.ProcessState))
			return none, nil
		case v.Error != "":
			return v.Report, exit(v.Code, errors.New(v.Error))
		}
		return v.Report, nil
	}
}

// writeReport tells of a report.
func writeReport(w io.Writer, path string, r outbox.Report) {
	if len(r.Problems) == 0 {
		fmt.Fprintf(w, "%s is sound: %s\n", path, count(r.Events, "event"))
		return
	}
	fmt.Fprintf(w, "%s is not sound: %s\n", path, count(len(r.Problems), "problem"))
	for _, problem := range r.Problems {
		fmt.Fprintf(w, "  %s\n", brief(strings.TrimSuffix(problem, "; restore a backup")))
	}
}

// printReport writes a report and makes an error of problems.
func (a *app) printReport(path string, r outbox.Report, next string) error {
	err := a.print(r, func(w io.Writer) { writeReport(w, path, r) })
	if len(r.Problems) > 0 {
		err = errors.Join(err, exit(exitUnverified, fmt.Errorf("%s is not sound; %s", path, next)))
	}
	return err
}
