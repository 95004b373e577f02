//go:build !linux

package main

import "syscall"

// diesWithProgram has no means here: a child outlives a program that is ended by SIGKILL.
func diesWithProgram() *syscall.SysProcAttr { return nil }
