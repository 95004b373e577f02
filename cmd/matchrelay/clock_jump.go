//go:build clockjump

package main

import (
	"os"
	"strings"
	"time"
)

// clockEnv names the file that says by how much the clock is off, such as -3m0s; without it the clock is right.
const clockEnv = "TORTURE_CLOCK"

func init() {
	path := os.Getenv(clockEnv)
	clock = func() time.Time {
		off := time.Duration(0)
		if text, err := os.ReadFile(path); err == nil {
			off, _ = time.ParseDuration(strings.TrimSpace(string(text)))
		}
		return time.Now().Add(off).Round(0) // a jump shows in differences, too
	}
}
