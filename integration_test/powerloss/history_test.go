package powerloss

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// version is what a file of a name held from some call on.
type version struct {
	holding     // no sum: there was no such file
	since   int // the call
}

// history is what the files have held one after the other, as processes saw it, and what was promised of it.
type history struct {
	versions map[string][]version // by path; the first is that there is none
	// promised is from which version on each file must be, by the call: the last entry that is not after it.
	promised []promise
	syncs    []namedSync
	main     string // path of the outbox
}

// namedSync is a sync with a name for people, such as "append 3: fdatasync of outbox.db, number 1".
type namedSync struct {
	name string
	end  int // the call that ends it
}

type promise struct {
	since int
	from  map[string]int // the version, by path
}

var draft = regexp.MustCompile(`\.new-[0-9a-f-]{36}$`)

// recall follows a trace. Wherever a process could have been killed, its files must verify.
func recall(j job, calls []*Call, say func(m message)) (*history, error) {
	h := &history{versions: map[string][]version{}, promised: []promise{{0, map[string]int{}}}}
	disk := NewDisk(j.Root, j.Marks)
	heads := map[string]uint64{}
	operation, ordinal := "", map[string]int{}
	for i, call := range calls {
		step, err := disk.Take(call)
		if err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
		if step.Changed && step.Sync == nil {
			say(message{Checking: fmt.Sprintf("call %d (%s), as processes see it", i, call.Name)})
			if err := h.look(i, disk.Now(), heads, j.Scratch); err != nil {
				return nil, fmt.Errorf("call %d: %w", i, err)
			}
		}
		if step.Sync != nil {
			path := draft.ReplaceAllString(step.Sync.Path, " (draft)")
			name := fmt.Sprintf("%s: %s of %s", operation, step.Sync.Call, path)
			ordinal[name]++
			h.syncs = append(h.syncs, namedSync{fmt.Sprintf("%s, number %d", name, ordinal[name]), i})
		}
		if step.Mark == "" {
			continue
		}
		var m mark
		if err := json.Unmarshal([]byte(step.Mark), &m); err != nil {
			return nil, fmt.Errorf("mark %q: %w", step.Mark, err)
		}
		if m.Begin != "" {
			operation = m.Begin
			clear(ordinal)
		}
		if err := h.promise(i, m); err != nil {
			return nil, fmt.Errorf("call %d, %q: %w", i, step.Mark, err)
		}
	}
	return h, nil
}

// look adds versions of files whose meta pages have changed, and of those that came or went.
func (h *history) look(i int, now Image, heads map[string]uint64, scratch string) error {
	for path, c := range now {
		if c == nil || draft.MatchString(path) || heads[path] == now.HeadSum(path) && heads[path] != 0 {
			continue
		}
		heads[path] = now.HeadSum(path)
		at := filepath.Join(scratch, "now.db")
		if err := c.writeTo(at); err != nil {
			return err
		}
		held, err := readFile(at)
		if err != nil {
			return fmt.Errorf("%s as a process that is killed leaves it: %w", path, err)
		}
		if err := os.Remove(at); err != nil {
			return err
		}
		h.add(path, version{held, i})
	}
	for path := range heads {
		if now[path] == nil {
			delete(heads, path)
			h.add(path, version{since: i})
		}
	}
	return nil
}

func (h *history) add(path string, v version) {
	versions := h.versions[path]
	if versions == nil {
		versions = []version{{}}
	}
	if last := versions[len(versions)-1]; last.sum != v.sum {
		versions = append(versions, v)
	}
	h.versions[path] = versions
	if filepath.Base(path) == mainFile && h.main == "" {
		h.main = path
	}
}

// promise notes what a mark promises.
func (h *history) promise(i int, m mark) error {
	from := maps.Clone(h.promised[len(h.promised)-1].from)
	switch {
	case m.Done != "":
		for path, sum := range m.Holds {
			versions := h.versions[path]
			if versions == nil {
				return fmt.Errorf("no such file was seen")
			}
			if from[path] = len(versions) - 1; versions[from[path]].sum != sum {
				return fmt.Errorf("%s holds %s, the process saw %s", path, versions[from[path]].sum, sum)
			}
		}
	case m.Key != "":
		n := slices.IndexFunc(h.versions[h.main], func(v version) bool { return v.keys[m.Key] })
		if n < 0 {
			return fmt.Errorf("no version has the key")
		}
		from[h.main] = max(from[h.main], n)
	default:
		return nil
	}
	h.promised = append(h.promised, promise{i, from})
	return nil
}

// bounds are, after a call, from which version on each file must be, and to which it may be.
type bounds struct {
	promise int
	from    map[string]int
	call    int
}

func (h *history) at(call int) bounds {
	n, found := slices.BinarySearchFunc(h.promised, call, func(p promise, call int) int { return p.since - call })
	if !found {
		n--
	}
	return bounds{n, h.promised[n].from, call}
}

// judge says what is wrong with what the files hold after a cut.
func (h *history) judge(b bounds, holds map[string]string) string {
	for path := range holds {
		if h.versions[path] == nil {
			return fmt.Sprintf("there is a file %s, which never was", path)
		}
	}
	for path, versions := range h.versions {
		may := versions[b.from[path]:]
		if slices.ContainsFunc(may, func(v version) bool { return v.sum == holds[path] && v.since <= b.call }) {
			continue
		}
		older := slices.ContainsFunc(versions[:b.from[path]], func(v version) bool { return v.sum == holds[path] })
		switch {
		case holds[path] == "":
			return fmt.Sprintf("%s is missing, which was promised", path)
		case older:
			return fmt.Sprintf("%s is an older one: a promise is broken", path)
		default:
			return fmt.Sprintf("%s is one that never was: a transaction in part", path)
		}
	}
	return ""
}
