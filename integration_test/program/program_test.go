package program

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPath_IsAProgramThatRuns(t *testing.T) {
	path, err := Path()
	require.NoError(t, err)
	out, err := exec.Command(path, "version").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "matchrelay ")
}

func TestBuild_IsOneForAllWhoAskAtOnce(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "cmd/matchrelay"), 0o700))
	write := func(says string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module example\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(root, "cmd/matchrelay/main.go"),
			[]byte("package main\n\nfunc main() { println(\""+says+"\") }\n"), 0o600))
	}
	for _, says := range []string{"first", "second"} { // a program is not used once its sources have changed
		write(says)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				path, err := build(root)
				if err != nil {
					t.Error(err)
					return
				}
				out, err := exec.Command(path).CombinedOutput()
				if err != nil || string(out) != says+"\n" {
					t.Errorf("%s: %q, %v", says, out, err)
				}
			})
		}
		all.Wait()
	}
}
