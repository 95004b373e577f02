package schema_test

import (
	"testing"
	"time"

	"github.com/PitchConnect/matchrelay/schema"
	"github.com/PitchConnect/matchrelay/schema/fogistest"
)

var day = time.Date(2025, 5, 6, 0, 0, 0, 0, time.UTC)

func BenchmarkParse1000Matches(b *testing.B) {
	list := fogistest.List(1, 1000, day)
	b.SetBytes(int64(len(list)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.ParseMatches(list); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuildUpdateOf1000Matches(b *testing.B) {
	matches, err := schema.ParseMatches(fogistest.List(1, 1000, day))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches}); err != nil {
			b.Fatal(err)
		}
	}
}
