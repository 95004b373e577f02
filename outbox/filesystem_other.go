//go:build !linux

package outbox

// fileSystem would name the file system of a path.
func fileSystem(string) string { return "" }
