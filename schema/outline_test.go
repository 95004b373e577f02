package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/schema"
)

func TestAnOutlineSaysWhichMatchItIs(t *testing.T) {
	for _, tt := range []struct {
		name, match string
		want        schema.Outline
	}{
		{"all of it", `{"matchid":6186203,"matchnr":"000402010","speldatum":"2025-05-06","avsparkstid":"17:00","lag1namn":"IFK G\u00f6teborg",
			"lag2namn":"BK","anlaggningnamn":"Kamratgården","tavlingnamn":"Ligacupen","installd":true,"uppskjuten":true,"avbruten":true,
			"domaruppdraglista":[{"personnamn":"A"},{"personnamn":"B"}]}`,
			schema.Outline{ID: "6186203", Number: "000402010", Date: "2025-05-06", Time: "17:00", Home: "IFK Göteborg", Away: "BK",
				Venue: "Kamratgården", Competition: "Ligacupen", Referees: 2, Cancelled: true, Postponed: true, Interrupted: true}},
		{"as little as there may be", `{"matchid":"7"}`, schema.Outline{ID: "7"}},
		{"null is nothing", `{"matchid":7,"lag1namn":null,"domaruppdraglista":null,"installd":null}`, schema.Outline{ID: "7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			matches, err := schema.ParseMatches([]byte("[" + tt.match + "]"))
			require.NoError(t, err)
			require.Equal(t, tt.want, matches[0].Outline())
		})
	}
}
