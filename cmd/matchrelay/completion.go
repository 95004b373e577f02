package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// shells are those that completion knows, and how each takes the script.
var shells = map[string]struct {
	write func(root *cobra.Command, w io.Writer) error
	use   string
}{
	"bash":       {func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) }, "matchrelay completion bash > /etc/bash_completion.d/matchrelay"},
	"zsh":        {func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) }, `matchrelay completion zsh > "${fpath[1]}/_matchrelay"`},
	"fish":       {func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) }, "matchrelay completion fish > ~/.config/fish/completions/matchrelay.fish"},
	"powershell": {func(root *cobra.Command, w io.Writer) error { return root.GenPowerShellCompletionWithDesc(w) }, "matchrelay completion powershell | Out-String | Invoke-Expression"},
}

func (a *app) completionCommand() *cobra.Command {
	names := []string{"bash", "zsh", "fish", "powershell"}
	var examples []string
	for _, name := range names {
		examples = append(examples, "  "+shells[name].use)
	}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a script that completes commands and flags in a shell",
		Example:   strings.Join(examples, "\n"),
		ValidArgs: names,
		Args:      oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(names, args[0]) {
				return usageError(fmt.Errorf("unknown shell: expected one of %v", names))
			}
			if err := shells[args[0]].write(cmd.Root(), a.stdout); err != nil {
				return fmt.Errorf("write the script: %w", err)
			}
			return nil
		},
	}
}
