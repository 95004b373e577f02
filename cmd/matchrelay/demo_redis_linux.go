package main

import "syscall"

// diesWithProgram has the kernel kill a child when the thread that started it ends, and so however the program ends, also by
// SIGKILL. The thread must be kept as long as the child.
func diesWithProgram() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
