// Package powerloss rebuilds what a power cut could leave of the files that a
// process was writing to.
//
// Killing a process proves nothing about power: the system keeps what was
// written and not synced, and writes it out later. So here a process runs under
// strace (Strace), which shows each write, with its bytes, each sync and each
// change of a folder, in order. A Disk takes these calls one after the other and
// knows at each point what must be on the disk and what may be; States lists
// what a cut at that point could leave, and an Image of one is put into a folder,
// to be opened as after the restart.
//
//	err := powerloss.Strace(cmd, trace) // and run it
//	calls, err := powerloss.ReadTraces(trace)
//	disk := powerloss.NewDisk(root, marks)
//	for _, call := range calls {
//		step, err := disk.Take(call)
//		for state := range disk.States(powerloss.Effort{Random: 3}, true, random) {
//			err := state.Image.WriteTo(folder)
//			... open what is in folder ...
//		}
//	}
//
// The process says in the same trace what it has promised: each line that it
// writes to the file at marks comes out of Take at its place among the calls.
//
// # What the disk does
//
// Less than the file systems of Linux promise, so that what passes here does not
// rest on one of them:
//
//   - A write that is not synced may be there, in part or not at all, and without
//     an earlier one: each of its sectors of 512 bytes decides for itself. A
//     sector is written whole.
//   - So may a change of a file's size. Where the size is there and the bytes are
//     not, zeros are read. Bytes past the size are not there.
//   - fsync and fdatasync of a file make its bytes and its size durable as of
//     when the call began, and nothing else: not even the name of a new file.
//   - fsync of a folder makes the names in it durable, its own name in the folder
//     above not. Names that are not synced may be lost; those of one folder in the
//     order in which they were made, so that a later one is never there without an
//     earlier one. A rename happens whole or not at all.
//   - Folder entries know nothing of the bytes: a durable name may lead to a file
//     of which no byte was written.
//   - A process that is killed loses nothing by that.
//
// Owners, modes and times are left out. A call that writes in another way than
// those in calls.go, such as a shared map that can be written to, is an error: the
// model would know nothing of it.
package powerloss
