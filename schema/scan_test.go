package schema

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var scanSeeds = []string{
	`{"a`, `{"a":1`, `{}`, `[]`, ` [ 1 , -0.5e+10 , "a\u00e5\n" , true , false , null , {"a" : {"b" : [ ] } } ] `,
	`"åäö <>& ` + "\u2028" + `"`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `-0`, `NaN`, `Infinity`, `-Infinity`,
	`tru`, `nul`, `fals`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{1:2}`, `[1,]`, `[1 2]`, `{"a":1 "b":2}`, `"\x"`, `"\u12g4"`, `"\u12"`, `"\`, `"`,
	"\"\x01\"", "\"1234567\x1f\"", "\"\xff\"", "\"1234567\x80\"", "\"\xc3\"", `[1] x`, `[1]]`, ``, ` `, `{`, `[`, `["\ud800"]`, `{"a":1,"a":2}`,
	`1e999`, `[-1.5E+0001]`, `1e-123456`, strings.Repeat("9", 1000), `{"a":` + strings.Repeat("9", 1001) + `}`, `0.` + strings.Repeat("1", 999),
	"\x00", "[\x00]", `"12345678"`, `"1234567\"90123456"`, "\"\x7f\"",
}

// The scanner takes exactly what encoding/json takes, except that it wants
// UTF-8 and limits depth and numbers.
func agreesWithEncodingJSON(data []byte) (got error, want bool) {
	return checkJSON(data, messageDepth), json.Valid(data) && utf8.Valid(data) && nesting(data) <= messageDepth && usable(data)
}

// usable says whether the numbers of valid JSON are within the limits.
func usable(data []byte) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return true
		}
		n, _ := token.(json.Number)
		_, exponent, _ := strings.Cut(strings.ToLower(string(n)), "e")
		if len(n) > 1000 || len(strings.TrimLeft(exponent, "+-")) > 3 {
			return false
		}
	}
}

// nesting is the depth of valid JSON.
func nesting(data []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

func TestTheScannerAgreesWithEncodingJSON(t *testing.T) {
	for _, seed := range append(scanSeeds, strings.Repeat("[", 72)+strings.Repeat("]", 72), strings.Repeat("[", 73)+strings.Repeat("]", 73),
		strings.Repeat(`{"a":`, 72)+"1"+strings.Repeat("}", 72), strings.Repeat(`{"a":`, 73)+"1"+strings.Repeat("}", 73)) {
		err, want := agreesWithEncodingJSON([]byte(seed))
		require.Equal(t, want, err == nil, "%q: %v", seed, err)
	}
}

func FuzzScanner(f *testing.F) {
	for _, seed := range scanSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err, want := agreesWithEncodingJSON(data); want != (err == nil) {
			t.Fatalf("%q: %v", data, err)
		}
	})
}

func TestMembersAndItemsAreThoseOfEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "object")
		data, err := json.Marshal(want)
		require.NoError(t, err)
		got := map[string][]string{}
		for name, value := range Members(data) {
			got[name] = nil
			if string(value) != "null" {
				got[name] = []string{}
			}
			for _, item := range Items(value) {
				got[name] = append(got[name], TextOf(item))
			}
		}
		var expected map[string][]string
		require.NoError(t, json.Unmarshal(data, &expected))
		require.Equal(t, expected, got)
	})
}

func TestMembersStopWhenTheCallerDoes(t *testing.T) {
	for name := range Members([]byte(`{"a": 1, "b": 2, "c": 3}`)) {
		require.Equal(t, "a", name)
		break
	}
}

func TestMembersAndItemsOfOtherValuesAreNone(t *testing.T) {
	for range Members([]byte(`null`)) {
		t.Error("null has no members")
	}
	require.Empty(t, Items([]byte(`{"a": 1}`)))
	require.Empty(t, Items(nil))
}

func TestTheLowestBytesThatArePlainAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "bytes")
		var w uint64
		want := 8
		for i := 7; i >= 0; i-- {
			w = w<<8 | uint64(b[i])
			if !plain[b[i]] {
				want = i
			}
		}
		require.Equal(t, want, plainBytes(w))
	})
}
