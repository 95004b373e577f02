package config

import (
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// parsers gives one parser per field type. Each error says what is expected and
// never repeats the value, which may be a secret put into the wrong variable.
var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[bool]():          parser(parseBool),
	reflect.TypeFor[int]():           parser(parseInt),
	reflect.TypeFor[time.Duration](): parser(parseDuration),
	reflect.TypeFor[Size]():          parser(parseSize),
	reflect.TypeFor[Receivers]():     parser(parseReceivers),
	reflect.TypeFor[PoisonPolicy]():  parser(oneOf(Park, Block)),
	reflect.TypeFor[RunMode]():       parser(oneOf(Service, OneShot)),
	reflect.TypeFor[LogLevel]():      parser(parseLogLevel),
}

func parser[T any](parse func(string) (T, error)) env.ParserFunc {
	return func(s string) (any, error) { return parse(strings.TrimSpace(s)) }
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1", "yes", "on":
		return true, nil
	case "false", "0", "no", "off":
		return false, nil
	}
	return false, expected("true or false (also 1/0, yes/no, on/off)")
}

func parseInt(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, expected("a whole number, 0 or more")
	}
	return int(n), nil
}

// parseDuration takes plain seconds, as the existing processor does, or Go's
// notation.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if seconds, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		// Also false for NaN, so what is converted always fits.
		if math.Abs(seconds) < math.MaxInt64/float64(time.Second) {
			d, err = time.Duration(seconds*float64(time.Second)), nil
		}
	}
	if err != nil || d < 0 {
		return 0, expected("seconds (5, 0.5) or a duration such as 500ms, 90s, 168h, not negative")
	}
	return d, nil
}

func parseSize(s string) (Size, error) {
	const want = expected("a size such as 1048576, 512KiB, 24MiB or 4GiB")
	digits := strings.TrimRight(s, "BbKkMmGgTtIi ")
	shift, ok := map[string]int{"": 0, "b": 0, "kib": 10, "mib": 20, "gib": 30, "tib": 40}[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, want
	}
	return Size(n << shift), nil
}

func parseReceivers(s string) (Receivers, error) {
	want := expected("topic=count, comma separated, each topic once; topics: " + strings.Join(Topics, ", "))
	r := Receivers{}
	for part := range strings.SplitSeq(s, ",") {
		topic, count, _ := strings.Cut(part, "=")
		topic = strings.TrimSpace(topic)
		n, err := parseInt(strings.TrimSpace(count))
		if _, twice := r[topic]; err != nil || twice || !slices.Contains(Topics, topic) {
			return nil, want
		}
		r[topic] = n
	}
	return r, nil
}

func oneOf[T ~string](choices ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if c := T(strings.ToLower(s)); slices.Contains(choices, c) {
			return c, nil
		}
		var names []string
		for _, c := range choices {
			names = append(names, string(c))
		}
		return "", expected(strings.Join(names, " or "))
	}
}

func parseLogLevel(s string) (LogLevel, error) {
	switch strings.ToUpper(s) {
	case "DEBUG":
		return LogLevel(slog.LevelDebug), nil
	case "INFO":
		return LogLevel(slog.LevelInfo), nil
	case "WARNING", "WARN":
		return LogLevel(slog.LevelWarn), nil
	case "ERROR", "CRITICAL":
		return LogLevel(slog.LevelError), nil
	}
	return 0, expected("DEBUG, INFO, WARNING, ERROR or CRITICAL")
}
