package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDescriptors_FewAreToldByDoctorAndRun(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(dir, "matchrelay")
	require.NoError(t, os.Symlink(self, program))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "list.json"), []byte(`[{"matchid":1}]`), 0o600))
	with := func(limit, args string) (stdout, stderr string) {
		cmd := exec.Command("sh", "-c", "ulimit -n "+limit+` && exec "$0" `+args, program)
		cmd.Dir, cmd.Env = dir, []string{"REDIS_PUBSUB_ENABLED=false", "GORACE=atexit_sleep_ms=0"}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		require.NoError(t, err, errs.String())
		return string(out), errs.String()
	}
	for limit, want := range map[string]checkStatus{"256": checkWarn, "512": checkOK} {
		stdout, _ := with(limit, "doctor -o json")
		var report checkReport
		require.NoError(t, json.Unmarshal([]byte(stdout), &report))
		for _, c := range report.Checks {
			if c.Name == "descriptors" {
				require.Equal(t, want, c.Status)
				require.Equal(t, want == checkWarn, c.Mend != "")
			}
		}
		_, stderr := with(limit, "run --once --source list.json")
		if want == checkWarn {
			require.Contains(t, stderr, "few open files are allowed")
		} else {
			require.NotContains(t, stderr, "few open files are allowed")
		}
	}
}
