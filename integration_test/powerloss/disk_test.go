package powerloss

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// script makes a trace of lines in which strings are readable.
func script(t *testing.T, lines ...string) []*Call {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		for i, part := range strings.Split(line, `"`) {
			if i%2 == 0 {
				b.WriteString(part)
				continue
			}
			b.WriteString(`"`)
			for _, c := range []byte(part) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
			b.WriteString(`"`)
		}
		b.WriteString("\n")
	}
	calls, err := readTrace(nil, strings.NewReader(b.String()), 0)
	require.NoError(t, err)
	return calls
}

// after is a disk that has taken calls.
func after(t *testing.T, lines ...string) *Disk {
	t.Helper()
	disk := NewDisk("/d", "/marks")
	for _, call := range script(t, lines...) {
		_, err := disk.Take(call)
		require.NoError(t, err)
	}
	return disk
}

// possible lists what could be left: "name=bytes", where a sector is written as its first letter, and zeros as a dot.
func possible(t *testing.T, disk *Disk) []string {
	t.Helper()
	var states []string
	for s := range disk.States(Effort{Exhaustive: 6, Random: 100}, true, rand.New(rand.NewPCG(1, 1))) {
		var files []string
		for path, c := range s.Image {
			if c == nil {
				files = append(files, path+"/")
				continue
			}
			text := ""
			for sector := range slices.Chunk(c.bytes(), Sector) {
				require.Len(t, bytes.TrimLeft(sector, string(sector[:1])), 0, "a sector is whole")
				text += strings.ReplaceAll(string(sector[:1]), "\x00", ".")
			}
			files = append(files, path+"="+text)
		}
		slices.Sort(files)
		states = append(states, strings.Join(files, " "))
	}
	slices.Sort(states)
	return slices.Compact(states)
}

func write(at int, letters string) string {
	data := ""
	for _, letter := range letters {
		data += strings.Repeat(string(letter), Sector)
	}
	return fmt.Sprintf(`1 pwrite64(5, "%s", %d, %d) = %d`, data, len(data), at*Sector, len(data))
}

func TestDisk_KnowsWhatACutCanLeave(t *testing.T) {
	const (
		create     = `1 openat(AT_FDCWD, "/d/f", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5`
		sync       = `1 fsync(5) = 0`
		openFolder = `1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 6`
		syncFolder = `1 fsync(6) = 0`
	)
	named := []string{create, openFolder, syncFolder}
	for _, tt := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"a name that is not synced, of a file that is", []string{create, write(0, "a"), sync}, []string{"", "f=a"}},
		{"a file that is not synced, of which the name is", append(named, write(0, "a")), []string{"f=", "f=.", "f=a"}},
		{"a name and a file that are synced", append(named, write(0, "a"), sync), []string{"f=a"}},
		{"a write over another, torn and in any order", append(named, write(0, "ab"), sync, write(0, "cd"), write(1, "e")),
			[]string{"f=ab", "f=ad", "f=ae", "f=cb", "f=cd", "f=ce"}},
		{"a size that was cut, and grows", append(named, write(0, "ab"), sync, `1 ftruncate(5, 512) = 0`, `1 ftruncate(5, 1024) = 0`),
			[]string{"f=a", "f=a.", "f=ab"}},
		{"names of a folder in their order", append(named, write(0, "a"), sync,
			`1 linkat(AT_FDCWD, "/d/f", AT_FDCWD, "/d/g", 0) = 0`, `1 unlinkat(AT_FDCWD, "/d/f", 0) = 0`, `1 mkdirat(AT_FDCWD, "/d/h", 0700) = 0`),
			[]string{"f=a", "f=a g=a", "g=a", "g=a h/"}},
		{"a rename, whole", append(named, write(0, "a"), sync, `1 renameat(AT_FDCWD, "/d/f", AT_FDCWD, "/d/g") = 0`), []string{"f=a", "g=a"}},
		{"a write that begins while a sync runs", append(named, write(0, "a"), `1 fsync(5 <unfinished ...>`,
			strings.Replace(write(0, "b"), "1 ", "2 ", 1), `1 <... fsync resumed>) = 0`), []string{"f=a", "f=b"}},
		{"a call that fails", append(named, `1 pwrite64(5, "x", 1, 0) = -1 ENOSPC (No space left on device)`), []string{"f="}},
		{"another place", []string{`1 openat(AT_FDCWD, "/dd/f", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5`, write(0, "a")}, []string{""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, possible(t, after(t, tt.lines...)))
		})
	}
}

func TestDisk_RefusesWhatItDoesNotKnow(t *testing.T) {
	const create = `1 openat(AT_FDCWD, "/d/f", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5`
	for _, line := range []string{
		`1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 5, 0) = 0x7f0000000000`,
		`1 fallocate(5, 0, 0, 4096) = 0`,
		`1 sync_file_range(5, 0, 4096, SYNC_FILE_RANGE_WRITE) = 0`,
		`1 fcntl(5, F_DUPFD_CLOEXEC, 0) = 6`,
		`1 io_uring_setup(8, {flags=0}) = 7`,
	} {
		disk := NewDisk("/d", "/marks")
		var err error
		for _, call := range script(t, create, line) {
			if err == nil {
				_, err = disk.Take(call)
			}
		}
		require.Error(t, err, line)
	}
}

func TestDisk_HearsMarksInTheirPlace(t *testing.T) {
	disk := NewDisk("/d", "/marks")
	var marks []string
	for _, call := range script(t, `1 openat(AT_FDCWD, "/marks", O_WRONLY|O_APPEND|O_CLOEXEC) = 3`, `1 write(3, "done", 4) = 4`) {
		step, err := disk.Take(call)
		require.NoError(t, err)
		if step.Mark != "" {
			marks = append(marks, step.Mark)
		}
	}
	require.Equal(t, []string{"done"}, marks)
}
