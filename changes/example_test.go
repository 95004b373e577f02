package changes_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/PitchConnect/matchrelay/changes"
	"github.com/PitchConnect/matchrelay/outbox"
	"github.com/PitchConnect/matchrelay/schema"
)

func ExampleRecorder_Cycle() {
	dir, err := os.MkdirTemp("", "matchrelay")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	box, err := outbox.Open(filepath.Join(dir, "matchrelay.db"), outbox.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = box.Close() }()
	recorder, err := changes.NewRecorder(box, changes.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, list := range []string{
		`[{"matchid": 1, "lag1namn": "A", "lag2namn": "B", "speldatum": "2025-05-06", "avsparkstid": "17:00"}]`,
		`[{"matchid": 1, "lag1namn": "A", "lag2namn": "B", "speldatum": "2025-05-06", "avsparkstid": "18:00"}]`,
	} {
		fetch := func(context.Context) ([]schema.Match, error) { return schema.DecodeMatches(strings.NewReader(list)) }
		summary, err := recorder.Cycle(context.Background(), fetch)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, c := range summary.Changes {
			fmt.Println(summary.Sequences, c.Category, c.Description)
		}
	}
	// Output:
	// [1 2 3] new_assignment new match: A - B, 2025-05-06 17:00
	// [4 5 6] time_change kick-off changed from 17:00 to 18:00: A - B, 2025-05-06 18:00
}
