package changes

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/PitchConnect/matchrelay/schema"
)

// drawnPeople is a list of referees or contacts in which many are alike: ids as numbers and texts, none, twice the same.
func drawnPeople(t *rapid.T, label string) []byte {
	one := rapid.Custom(func(t *rapid.T) string {
		var fields []string
		for _, f := range []struct {
			name   string
			values []string
		}{
			{"domareid", []string{"", "1", "2", `"1"`, "null"}},
			{"domarrollid", []string{"", "1", "2", `"2"`}},
			{"domarrollnamn", []string{"", `"Dom"`, `"AD1"`, `""`}},
			{"personnamn", []string{"", `"Anna"`, `"Bo"`, `"\u0042o"`}},
			{"telefon", []string{"", "1", `"1"`, `"01"`, "null"}},
			{"x", []string{"", `{"a":1}`, `{"a":"1","b":null}`, "[1,2]", "[2,1]", "1.0"}},
		} {
			if value := rapid.SampledFrom(f.values).Draw(t, f.name); value != "" {
				fields = append(fields, fmt.Sprintf("%q:%s", f.name, value))
			}
		}
		return "{" + strings.Join(fields, ",") + "}"
	})
	return []byte("[" + strings.Join(rapid.SliceOfN(one, 0, 6).Draw(t, label), ",") + "]")
}

// comparingAll is match as it is easily said: each of b, in turn, takes the first of a that fits.
func comparingAll[T any](a, b *[]T, fit func(a, b T) bool, found func(a, b T)) {
	var left []T
	for _, y := range *b {
		i := slices.IndexFunc(*a, func(x T) bool { return fit(x, y) })
		if i < 0 {
			left = append(left, y)
			continue
		}
		x := (*a)[i]
		*a = slices.Delete(*a, i, i+1)
		found(x, y)
	}
	*b = left
}

// toldByComparingAll is what the changes of referees tell.
func toldByComparingAll(prev, curr []official) (told []string) {
	alike := func(a, b official) bool { return len(differing(context.Background(), a.members, b.members)) == 0 }
	comparingAll(&prev, &curr, alike, func(_, _ official) {})
	comparingAll(&prev, &curr, func(a, b official) bool { return a.id() == b.id() && a.role() == b.role() }, func(a, b official) {
		names := slices.Sorted(maps.Keys(differing(context.Background(), a.members, b.members)))
		told = append(told, fmt.Sprintf("%s of %s %s changed", strings.Join(names, ", "), b.roleName(), b.name()))
	})
	comparingAll(&prev, &curr, func(a, b official) bool { return a.id() == b.id() && a.id() != "" }, func(a, b official) {
		told = append(told, fmt.Sprintf("%s is now %s instead of %s", b.name(), b.roleName(), a.roleName()))
	})
	comparingAll(&prev, &curr, func(a, b official) bool { return a.role() == b.role() }, func(a, b official) {
		told = append(told, fmt.Sprintf("%s replaced by %s as %s", a.name(), b.name(), b.roleName()))
	})
	for _, o := range prev {
		told = append(told, fmt.Sprintf("%s %s removed", o.roleName(), o.name()))
	}
	for _, o := range curr {
		told = append(told, fmt.Sprintf("%s %s added", o.roleName(), o.name()))
	}
	return told
}

func TestReferees_ArePairedAsByComparingAllWithAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := members{"domaruppdraglista": drawnPeople(t, "before")}, members{"domaruppdraglista": drawnPeople(t, "after")}
		prev, curr := officialsOf(before), officialsOf(after)
		p := differ{location: time.UTC}.pair("1", before, after)
		p.compareReferees(context.Background())
		var told []string
		for _, c := range p.changes {
			told = append(told, strings.TrimSuffix(c.Description, ": "+p.title))
		}
		if len(prev) == 0 && len(curr) > 0 {
			require.Equal(t, []string{"referees assigned"}, told)
			return
		}
		require.Equal(t, toldByComparingAll(prev, curr), told)
	})
}

func TestContacts_ArePairedAsByComparingAllWithAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := members{"kontaktpersoner": drawnPeople(t, "before")}, members{"kontaktpersoner": drawnPeople(t, "after")}
		p := differ{location: time.UTC}.pair("1", before, after)
		p.compareContacts(context.Background())
		prev, curr := schema.Items(before["kontaktpersoner"]), schema.Items(after["kontaktpersoner"])
		comparingAll(&prev, &curr, same, func(_, _ []byte) {})
		require.Equal(t, len(prev)+len(curr) > 0, len(p.changes) == 1)
	})
}

// drawnValue is JSON with much that means the same.
func drawnValue(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		scalars := []string{"null", "true", `"true"`, "0", "-0", `"-0"`, "1", `"1"`, "1.0", `"1.0"`, "1e0", "9007199254740993", "9007199254740992.0",
			"123456789012345", "1234567890123450e-1", `"01"`, `""`, `"å"`, `"\u00e5"`, "1e999", `"1e999"`}
		kind := rapid.IntRange(0, 4).Draw(t, "kind")
		if kind > 1 || depth == 0 {
			return rapid.SampledFrom(scalars).Draw(t, "scalar")
		}
		items := rapid.SliceOfN(drawnValue(depth-1), 0, 3).Draw(t, "items")
		if kind == 0 {
			return "[" + strings.Join(items, ", ") + "]"
		}
		for i, item := range items {
			items[i] = fmt.Sprintf(`"%c":%s`, 'a'+i, item)
		}
		return "{" + strings.Join(rapid.Permutation(items).Draw(t, "order"), ",") + "}"
	})
}

func TestContent_IsTheSameWhereValuesMeanTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := []byte(drawnValue(3).Draw(t, "a")), []byte(drawnValue(3).Draw(t, "b"))
		require.True(t, json.Valid(a) && json.Valid(b))
		require.Equal(t, same(a, b), same(b, a))
		if same(a, b) {
			require.Equal(t, content(a), content(b), "%s and %s", a, b)
		}
	})
}

// manyReferees are n, each with an id and data of its own; after is them in another order and under other names.
func manyReferees(n int) (before, after members) {
	var prev, curr []string
	for i := range n {
		const one = `{"domareid":%d,"domarrollid":%d,"personnamn":"%s %[1]d","x":{"y":[%[1]d]}}`
		prev = append(prev, fmt.Sprintf(one, i, i%5, "A"))
		curr = append(curr, fmt.Sprintf(one, (i*7919)%n, (i*7919)%n%5, "B"))
	}
	list := func(items []string) members {
		value := []byte("[" + strings.Join(items, ",") + "]")
		return members{"domaruppdraglista": value, "kontaktpersoner": value}
	}
	return list(prev), list(curr)
}

func TestMatch_AsksForEachKeyOnce(t *testing.T) {
	const n = 10_000
	var a, b []int
	for i := range n {
		a, b = append(a, i), append(b, n/2+n-i)
	}
	asked, pairs := 0, 0
	match(context.Background(), &a, &b, func(i int) (int, bool) { asked++; return i, true }, func(x, y int) { require.Equal(t, x, y); pairs++ })
	require.Equal(t, 2*n, asked)
	require.Equal(t, n/2-1, pairs)
	require.Len(t, a, n-pairs)
	require.Len(t, b, n-pairs)
}

// Allocations count the work: every comparison of two people makes some.
func TestCompare_TakesWorkInProportionToThePeople(t *testing.T) {
	work := func(n int) float64 {
		before, after := manyReferees(n)
		return testing.AllocsPerRun(1, func() {
			p := differ{location: time.UTC}.pair("1", before, after)
			require.NoError(t, p.compare(context.Background()))
			require.Len(t, p.changes, n+1)
		})
	}
	few, many := work(20), work(400)
	require.Less(t, many, 22*few, "%.0f and %.0f allocations", few, many)
}

// BenchmarkReferees is one match whose referees all change; 200 is the limit.
func BenchmarkReferees(b *testing.B) {
	for _, n := range []int{4, 40, 200, 2000} {
		b.Run(fmt.Sprintf("referees=%d", n), func(b *testing.B) {
			before, after := manyReferees(n)
			b.ReportAllocs()
			for b.Loop() {
				differ{location: time.UTC}.pair("1", before, after).compareReferees(context.Background())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/referee")
		})
	}
}

func TestCompare_ReadsWhatIsNestedOnce(t *testing.T) {
	nested := func(inside string) members {
		return members{"x": []byte(strings.Repeat(`{"a":[`, 30) + inside + strings.Repeat(`]}`, 30))}
	}
	p := differ{location: time.UTC}.pair("1", nested("1"), nested("2"))
	require.NoError(t, p.compare(context.Background())) // twice the work at each level would take years
	require.Len(t, p.changes, 1)
}

func TestCompare_CutsNamesThatEachChangeRepeats(t *testing.T) {
	long := strings.Repeat("å", 1000)
	match := func(value int) members {
		m := members{"matchnr": []byte(`"` + long + `"`), "lag1namn": []byte(`"` + long + `"`)}
		for i := range 10 {
			m[fmt.Sprint("x", i)] = []byte(fmt.Sprint(value))
		}
		return m
	}
	p := differ{location: time.UTC}.pair("1", match(1), match(2))
	require.NoError(t, p.compare(context.Background()))
	require.Len(t, p.changes, 10)
	for _, c := range p.changes {
		require.Equal(t, long[:200], c.MatchNr)
		require.Contains(t, c.Description, ": "+long[:200]+" - ")
	}
}
