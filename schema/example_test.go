package schema_test

import (
	"fmt"
	"strings"

	"github.com/PitchConnect/matchrelay/schema"
)

func Example() {
	list := `{"matchlista": [{"matchid": 6186203, "avsparkstid": "17:00", "domaruppdraglista": null}]}`
	matches, err := schema.DecodeMatches(strings.NewReader(list))
	if err != nil {
		fmt.Println(err)
		return
	}
	m := matches[0]
	fmt.Println(m.ID(), m.Text("avsparkstid"))
	fmt.Println(string(m.Raw()))

	message, err := schema.NewMatchUpdate(schema.MatchUpdate{Matches: matches, New: []string{m.ID()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(message.Type, message.Validate())

	_, err = schema.DecodeMatches(strings.NewReader(`[{"matchid": 6186203, "installd": "nej"}]`))
	fmt.Println(err)
	// Output:
	// 6186203 17:00
	// {"matchid": 6186203, "avsparkstid": "17:00", "domaruppdraglista": null}
	// match_updates <nil>
	// invalid match list: matches[0] (matchid 6186203): field installd: expected true or false, got a text
}
