package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/caarlos0/env/v11"
	"github.com/joho/godotenv"
)

// DefaultEnvFile is read from the working directory when it is there.
const DefaultEnvFile = ".env"

// Options says where [Load] looks. The zero value is right for a program
// without flags.
type Options struct {
	// Environ is the environment as os.Environ returns it; nil means os.Environ().
	Environ []string
	// EnvFile must exist if it is given; "" means DefaultEnvFile, which may be absent. It has to belong to this user or to root,
	// and others must not be able to write to it.
	EnvFile string
	// Overrides are values from command-line flags, by variable name. They win
	// over everything else and are checked like any other value.
	Overrides map[string]string
	// Only names the variables that are looked at; the others have their
	// defaults, whatever they are set to. nil means all.
	Only []string
}

// Origin says where a value came from.
type Origin string

// The origins, from the strongest to the weakest.
const (
	FromFlag        Origin = "flag"
	FromEnvironment Origin = "environment"
	FromFile        Origin = "file"
	FromDefault     Origin = "default"
)

type given struct {
	value  string
	origin Origin
}

// Load reads and checks the whole configuration. The error is an *[Error]
// listing every wrong value (errors.Is ErrInvalid), or wraps [ErrEnvFile].
func Load(opts Options) (*Config, error) {
	file, err := readEnvFile(opts.EnvFile)
	if err != nil {
		return nil, err
	}
	environ := opts.Environ
	if environ == nil {
		environ = os.Environ()
	}
	c := &Config{given: map[string]*given{}}
	for _, from := range []struct {
		values map[string]string
		origin Origin
	}{{file, FromFile}, {env.ToMap(environ), FromEnvironment}, {opts.Overrides, FromFlag}} {
		if opts.Only != nil {
			from.values = maps.Clone(from.values)
			maps.DeleteFunc(from.values, func(name, _ string) bool { return !slices.Contains(opts.Only, name) })
		}
		c.take(from.values, from.origin)
	}
	if err := c.parse(); err != nil {
		return nil, err
	}
	return c, nil
}

// take lays the values of one origin over those of the weaker ones.
func (c *Config) take(values map[string]string, origin Origin) {
	for name, value := range values {
		c.names = append(c.names, name)
		if value != "" {
			c.given[name] = &given{value, origin}
		}
	}
}

// parse fills c from c.given and then checks what one value alone cannot show.
func (c *Config) parse() error {
	values := map[string]string{}
	for name, g := range c.given {
		values[name] = g.value
	}
	found := problems{}
	var all env.AggregateError
	errors.As(env.ParseWithOptions(c, env.Options{Environment: values, FuncMap: parsers}), &all)
	for _, err := range all.Errors {
		var pe env.ParseError
		errors.As(err, &pe)
		for _, v := range variables {
			if v.field == pe.Name {
				c.fail(found, v.Name, fmt.Sprint(pe.Err))
			}
		}
	}
	c.check(found)
	return found.asError()
}

// fail records that the variable has a wrong value, unless it has one already.
func (c *Config) fail(found problems, name, want string) {
	if found.any(name) {
		return
	}
	s := c.setting(name)
	found[name] = FieldError{
		Name: name, Given: s.Value, Origin: s.Origin,
		Expected: strings.TrimPrefix(want, "expected "),
	}
}

// origin says where the variable's value came from.
func (c *Config) origin(name string) Origin {
	if g, ok := c.given[name]; ok {
		return g.origin
	}
	return FromDefault
}

// readEnvFile returns the variables of a .env file. godotenv's errors quote the
// file, passwords and all, so none is ever wrapped: the line number must do.
func readEnvFile(path string) (map[string]string, error) {
	optional := path == ""
	if optional {
		path = DefaultEnvFile
	}
	data, err := readOwn(filepath.Clean(path))
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEnvFile, err)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if values, ok := parseEnvFile(data); ok {
		return values, nil
	}
	return nil, fmt.Errorf("%w: %s, line %d: expected NAME=value, with a closing quote if there is an opening one",
		ErrEnvFile, path, badLine(data))
}

// readOwn reads a file that only this user and root can have written.
func readOwn(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = checkOwn(path, info) // opening a pipe of somebody's would wait for them
	}
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err == nil {
		err = checkOwn(path, info)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// checkOwn refuses settings that others could have chosen. Leaving them out unsaid would be
// worse than to end. The group of this process is not others: it often is the user's own, and the umask lets it write.
func checkOwn(path string, info fs.FileInfo) error {
	owner := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case mode&fs.ModeDevice != 0: // such as /dev/null
		return nil
	case owner.Uid != 0 && int(owner.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to the user %d, not to this one (%d) or root: chown it, or set its variables in the environment", path, owner.Uid, os.Geteuid())
	case mode.Perm()&0o002 != 0 || mode.Perm()&0o020 != 0 && int(owner.Gid) != os.Getegid():
		return fmt.Errorf("%s can be written by others, its mode is %04o: chmod go-w %s", path, mode.Perm(), path)
	}
	return nil
}

// parseEnvFile also refuses a name without = on the last line, which godotenv
// takes for the value of a variable without a name.
func parseEnvFile(data []byte) (map[string]string, bool) {
	values, err := godotenv.UnmarshalBytes(append(slices.Clip(data), '\n'))
	return values, err == nil && !slices.Contains(slices.Collect(maps.Keys(values)), "")
}

// badLine returns the line after the longest part that parses: where the
// statement begins that does not.
func badLine(data []byte) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	for n := len(lines) - 1; n > 0; n-- {
		if _, ok := parseEnvFile(bytes.Join(lines[:n], nil)); ok {
			return n + 1
		}
	}
	return 1
}
