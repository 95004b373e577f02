package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/PitchConnect/matchrelay/config"
)

// app is one call of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       func(stream any) bool // says whether a stream is a terminal

	// Global flags.
	db, redisURL, envFile string
	output                format
	noColor               bool

	environ []string // replaces the process's own if it is not nil
	name    string   // by which this process was started
	started bool     // flags and arguments were right: a command has begun
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, terminal: isTerminal, output: formatTable, name: os.Args[0]}
}

// run executes one command line (without the program's name) and returns its exit code. It has said what went wrong.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !a.started {
		err = usageError(fmt.Errorf("%w; see %s --help", err, cmd.CommandPath()))
	}
	code, message := explain(err)
	if message != "" {
		fmt.Fprintln(a.stderr, "matchrelay: "+harmless(message))
	}
	return code
}

func (a *app) rootCommand() *cobra.Command {
	root := group(&cobra.Command{
		Use:   "matchrelay",
		Short: "Record match lists and relay what changed to Redis, losing nothing",
		Long: `matchrelay records FOGIS match lists in a durable outbox, together with the events that follow from them,
and relays the events to Redis Pub/Sub: in order, each once, for as long as it takes.

Begin with: matchrelay demo`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { a.started = true },
	})
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(plainFlagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.db, "db", "", "the outbox file (MATCHRELAY_DB, default data/matchrelay.db)")
	flags.StringVar(&a.redisURL, "redis-url", "", "where Redis is (REDIS_URL, better for passwords: others see a command line)")
	flags.StringVar(&a.envFile, "env-file", "", "file of settings (default .env, if there is one); the environment wins over it")
	flags.VarP(&a.output, "output", "o", "table, json or jsonl")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours (NO_COLOR)")
	root.AddCommand(a.runCommand(), a.relayCommand(), a.ingestCommand(), a.statusCommand(), a.healthcheckCommand(), a.eventsCommand(), a.matchesCommand(), a.resyncCommand(),
		a.configCommand(), a.doctorCommand(), a.benchCommand(), a.demoCommand(), a.versionCommand())
	root.AddCommand(a.auditCommand(), a.checkCommand(), a.backupCommand(), a.compactCommand(),
		a.schemaCommand(), a.completionCommand(), a.verifyFileCommand())
	root.AddCommand(a.steerCommands()...)
	return root
}

// group makes a command that only holds others: alone it shows its help, and an unknown one below it is an error.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// oneArgument wants the one argument that Use names.
func oneArgument(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	_, name, _ := strings.Cut(cmd.Use, " ")
	return fmt.Errorf("expected one argument, %s, not %d", name, len(args))
}

// plainFlagError leaves out what Go's parser of numbers is called.
func plainFlagError(_ *cobra.Command, err error) error {
	what, parser, found := strings.Cut(err.Error(), ": strconv.")
	switch {
	case !found:
		return err
	case strings.HasPrefix(parser, "ParseBool"):
		return errors.New(what + ": expected true or false")
	case strings.HasPrefix(parser, "ParseUint"):
		return errors.New(what + ": expected a whole number from 0 on")
	}
	return errors.New(what + ": expected a number")
}

// input is standard input until ctx ends: a read that waits for a terminal or a pipe would otherwise outlive Ctrl-C.
func (a *app) input(ctx context.Context) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, a.stdin)
		_ = in.CloseWithError(err) // nil is the end of the input; never fails
	}()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })
	return out
}

// load reads the configuration. overrides are values of the command's own flags, by variable name; "" is not set.
func (a *app) load(overrides map[string]string) (*config.Config, error) {
	opts := config.Options{Environ: a.environ, EnvFile: a.envFile, Overrides: map[string]string{"MATCHRELAY_DB": a.db, "REDIS_URL": a.redisURL}}
	for name, value := range overrides {
		opts.Overrides[name] = value
	}
	return config.Load(opts)
}
