package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// benchPlan is how much is measured.
type benchPlan struct {
	rounds  int
	appends int // per caller and round
	drained int // events per round
	trips   int // latencies measured
	dir     string
	only    string // append, deliver, or "" for both
	server  string // a redis-server binary to start
}

// needs is about how many bytes of disk that takes at most: a file grows to less than twice what is in it.
func (p benchPlan) needs() uint64 {
	appended, drained := 0, 0
	if p.only != "deliver" {
		appended = 2 * (p.rounds + 1) * callsOf(p, slices.Max(appendCallers)) // ours and bbolt's
	}
	if p.only != "append" {
		drained = p.drained
		if p.server != "" {
			drained += p.drained / 2 // its append-only file
		}
	}
	return 2 * benchBytes * uint64(max(appended, drained))
}

func (a *app) benchCommand() *cobra.Command {
	plan := benchPlan{appends: 100, drained: 200_000, trips: 1000}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure appending and delivering on your own disk and Redis",
		Long: `Bench measures durable appends on the disk of --dir (default: the folder of the outbox file) and delivery to the
configured Redis, with events of 1 KB that do not compress and one subscriber. Each figure stands beside a baseline taken in
turns with it: bbolt alone, and plain go-redis pipelines of PUBLISH. The medians of the rounds are told.

It uses temporary outboxes and a channel and keys of its own (matchrelay:bench:…), and removes them. A Redis that others use
will feel the load for some seconds; --redis-server starts one of your own instead. It is over in one or two minutes.

It needs about 600 MB of free space, 100 MB more for each round beyond 5, and with --only deliver 400 MB for any number of
rounds (600 MB with --redis-server). With less it does not start.`,
		Example: `  matchrelay bench --redis-server
  matchrelay bench --only append --dir /var/lib/matchrelay -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case plan.rounds < 1 || plan.rounds > 100:
				return usageError(errors.New("--rounds: expected 1 to 100"))
			case plan.only != "" && plan.only != "append" && plan.only != "deliver":
				return usageError(errors.New("--only: expected append or deliver"))
			}
			return a.bench(cmd.Context(), plan)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&plan.rounds, "rounds", 5, "how often each figure is measured, 1 to 100")
	flags.StringVar(&plan.dir, "dir", "", "folder on the disk to measure")
	flags.StringVar(&plan.only, "only", "", "append (needs no Redis) or deliver")
	flags.StringVar(&plan.server, "redis-server", "", "a redis-server binary to start and measure, instead of the configured Redis")
	flags.Lookup("redis-server").NoOptDefVal = "redis-server"
	return cmd
}

// benchReport is the result of bench. Figures that were not measured are left out.
type benchReport struct {
	Against     benchAgainst   `json:"against"`
	Append1     *appendFigure  `json:"append_1,omitempty"`
	Append64    *groupFigure   `json:"append_64,omitempty"`
	Append256   *groupFigure   `json:"append_256,omitempty"`
	DrainPubSub *pubsubFigure  `json:"drain_pubsub,omitempty"`
	DrainStream *streamFigure  `json:"drain_stream,omitempty"`
	Latency     *latencyFigure `json:"latency_ms,omitempty"`
}

// benchAgainst is what was measured.
type benchAgainst struct {
	Dir    string `json:"dir"`
	Redis  string `json:"redis"` // version and address, "" when none was used
	Go     string `json:"go"`
	CPUs   int    `json:"cpus"`
	Rounds int    `json:"rounds"`
	Bytes  int    `json:"bytes_per_event"`
}

// figure is what every ratio is made of.
type figure struct {
	PerSecond float64 `json:"events_per_second"`
	Baseline  float64 `json:"baseline_per_second"`
	Least     float64 `json:"least_ratio"` // of the rounds
	Most      float64 `json:"most_ratio"`
}

type appendFigure struct {
	figure
	Ratio float64 `json:"vs_bare_bbolt"`
}

type groupFigure struct {
	figure
	Ratio          float64 `json:"vs_bare_group_commit"`
	Batch          float64 `json:"vs_bbolt_batch,omitempty"`
	BatchPerSecond float64 `json:"bbolt_batch_per_second,omitempty"`
}

type pubsubFigure struct {
	figure
	Ratio float64 `json:"vs_pipelined_publish"`
}

type streamFigure struct {
	figure
	Ratio float64 `json:"vs_pipelined_xadd_publish"`
}

type latencyFigure struct {
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Publish float64 `json:"publish_p50"` // one PUBLISH round trip
	Ratio   float64 `json:"vs_publish"`  // of the medians
}

// benchBytes is the size of an event.
const benchBytes = 1000

// inTurns takes rounds of both sides in turns, the first of which is not counted.
func inTurns(rounds int, ours, baseline func() (perSecond float64, err error), tick func()) (f figure, ratio float64, err error) {
	var our, their, ratios []float64
	for round := range rounds + 1 {
		o, err := ours()
		if err != nil {
			return f, 0, err
		}
		b, err := baseline()
		if err != nil {
			return f, 0, err
		}
		if round > 0 {
			our, their, ratios = append(our, o), append(their, b), append(ratios, o/b)
		}
		tick()
	}
	return figure{PerSecond: quantile(our, 0.5), Baseline: quantile(their, 0.5), Least: slices.Min(ratios), Most: slices.Max(ratios)},
		quantile(ratios, 0.5), nil
}

// quantile is the value below which a share of them lies. It sorts them.
func quantile(values []float64, share float64) float64 {
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}

func (a *app) bench(ctx context.Context, plan benchPlan) (err error) {
	cfg, err := a.load(nil)
	if err != nil {
		return err
	}
	if plan.dir == "" {
		plan.dir = existingFolder(filepath.Dir(cfg.Outbox.Path))
	}
	folder, err := os.MkdirTemp(plan.dir, ".matchrelay-bench-")
	if err != nil {
		return fmt.Errorf("make a folder to measure in: %w; name another one with --dir", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if free, err := freeBytes(folder); err != nil {
		return fmt.Errorf("find out how much space is free: %w; name another folder with --dir", err)
	} else if needs := plan.needs(); free < needs {
		return fmt.Errorf("%s has %s free, and the measurement needs %s; free disk space, name a folder on another disk with --dir, or take fewer --rounds",
			plan.dir, byteText(int64(free)), byteText(int64(needs)))
	}
	report := benchReport{Against: benchAgainst{Dir: plan.dir, Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0), Rounds: plan.rounds, Bytes: benchBytes}}
	steps := 0
	if plan.only != "deliver" {
		steps += len(appendCallers) * (plan.rounds + 1)
	}
	if plan.only != "append" {
		steps += 2*(plan.rounds+1) + 1
	}
	done, tick := 0, func() {}
	if a.terminal(a.stderr) {
		tick = func() {
			done++
			fmt.Fprintf(a.stderr, "measured %d of %d\r", done, steps) // a warning begins at the line's start
		}
		defer fmt.Fprintln(a.stderr)
	}
	if plan.only != "append" { // Redis first: what is missing shows at once
		if err := a.benchDelivery(ctx, cfg, plan, folder, &report, tick); err != nil {
			return err
		}
	}
	if plan.only != "deliver" {
		if err := benchAppends(ctx, plan, folder, &report, tick); err != nil {
			return err
		}
	}
	return a.print(report, func(w io.Writer) { writeBench(w, report) })
}

// existingFolder is the nearest folder above that exists: the outbox's may not be there yet.
func existingFolder(dir string) string {
	for above := filepath.Dir(dir); above != dir; dir, above = above, filepath.Dir(above) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
	}
	return dir
}

func writeBench(w io.Writer, r benchReport) {
	fmt.Fprintf(w, "disk   %s\n", r.Against.Dir)
	if r.Against.Redis != "" {
		fmt.Fprintf(w, "redis  %s\n", r.Against.Redis)
	}
	fmt.Fprintf(w, "events of %d bytes, medians of %s, %s, %s\n\n", r.Against.Bytes, count(r.Against.Rounds, "round"), count(r.Against.CPUs, "CPU"), r.Against.Go)
	t := newTable("FIGURE", "EVENTS/S", "RATIO", "SPREAD", "BASELINE/S", "BASELINE")
	row := func(name string, f figure, ratio float64, baseline string) {
		t.AppendRow([]any{name, fmt.Sprintf("%.0f", f.PerSecond), fmt.Sprintf("%.2f", ratio), fmt.Sprintf("%.2f-%.2f", f.Least, f.Most),
			fmt.Sprintf("%.0f", f.Baseline), baseline})
	}
	if f := r.Append1; f != nil {
		row("append, 1 caller", f.figure, f.Ratio, "bare bbolt")
	}
	if f := r.Append64; f != nil {
		row("append, 64 callers", f.figure, f.Ratio, fmt.Sprintf("bare group commit (bbolt's Batch: %.0f, ratio %.1f)", f.BatchPerSecond, f.Batch))
	}
	if f := r.Append256; f != nil {
		row("append, 256 callers", f.figure, f.Ratio, "bare group commit")
	}
	if f := r.DrainPubSub; f != nil {
		row("drain, Pub/Sub", f.figure, f.Ratio, "pipelines of 512 PUBLISH")
	}
	if f := r.DrainStream; f != nil {
		row("drain, with streams", f.figure, f.Ratio, "pipelines of 512 XADD + PUBLISH")
	}
	render(w, t)
	if l := r.Latency; l != nil {
		fmt.Fprintf(w, "\nappended -> received: p50 %.2f ms, p99 %.2f ms; one PUBLISH %.2f ms (%.1f x)\n", l.P50, l.P99, l.Publish, l.Ratio)
	}
}

// rate is how many a second that was.
func rate(n int, began time.Time) float64 { return float64(n) / time.Since(began).Seconds() }
