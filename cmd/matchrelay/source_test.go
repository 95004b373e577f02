package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/PitchConnect/matchrelay/config"
	"github.com/PitchConnect/matchrelay/integration_test/redistest"
	"github.com/PitchConnect/matchrelay/schema"
)

const oneMatch = `[{"matchid":1}]`

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestAListFromAServer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    string // "" = one match
	}{
		{"a list", answer(200, oneMatch), ""},
		{"a list behind a redirect", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				answer(200, oneMatch)(w, r)
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, ""},
		{"credentials reach the server", func(w http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "hunter2" || r.URL.RawQuery != "token=hunter3" {
				answer(401, "")(w, r)
				return
			}
			answer(200, oneMatch)(w, r)
		}, ""},
		{"redirects in a circle", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
			"stopped after 10 redirects"},
		{"a redirect to nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://me:hunter4@[/list?token=hunter5")
			w.WriteHeader(http.StatusFound)
		}, "it redirects to what is no URL"},
		{"an error of the server", answer(500, "[]"), "status 500 Internal Server Error, expected 200"},
		{"no content", answer(204, ""), "status 204 No Content, expected 200"},
		{"an empty answer is no empty list", answer(200, ""), "no JSON value found"},
		{"a page instead of a list", answer(200, "<html>log in</html>"), "expected a list of matches"},
		{"half a list", answer(200, `[{"matchid":1},`), "invalid match list"},
		{"a connection that breaks off", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			answer(200, oneMatch)(w, r)
		}, "unexpected EOF"},
		{"more bytes than the limit", func(w http.ResponseWriter, _ *http.Request) {
			spaces := strings.Repeat(" ", 1<<20)
			for range schema.MaxListBytes>>20 + 1 {
				_, _ = io.WriteString(w, spaces)
			}
		}, "match list too large"},
		{"a server that hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "context deadline exceeded"},
		{"a server that hangs in the middle", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "[")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			defer server.CloseClientConnections()
			s := sourceOf(t, strings.Replace(server.URL, "//", "//me:hunter2@", 1)+"/list?token=hunter3")
			if s.timeout = redistest.Patience; strings.Contains(tt.name, "hangs") {
				s.timeout = time.Second
			}
			matches, err := s.fetch(t.Context())
			if tt.want == "" {
				require.NoError(t, err)
				require.Len(t, matches, 1)
				return
			}
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, "get "+server.URL+"/list: ")
			require.NotContains(t, err.Error(), "hunter")
		})
	}
}

func TestURLSource_AsksNoOtherServer(t *testing.T) {
	var asked []*http.Request
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r)
		answer(200, oneMatch)(w, r)
	}))
	defer other.Close()
	at := ""
	var referer []string
	hop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		referer = append(referer, r.Header.Get("Referer"))
		if r.URL.Path != "/list" {
			answer(200, oneMatch)(w, r)
			return
		}
		http.Redirect(w, r, at, http.StatusFound)
	})
	plain, secure := httptest.NewServer(hop), httptest.NewTLSServer(hop)
	defer plain.Close()
	defer secure.Close()
	for name, to := range map[string]string{
		"another port":       other.URL + "/list?token=hunter4",
		"another host":       strings.Replace(plain.URL, "127.0.0.1", "localhost", 1) + "/list?token=hunter4",
		"with a login":       strings.Replace(other.URL, "//", "//me:hunter4@", 1),
		"https on that port": strings.Replace(plain.URL, "http:", "https:", 1),
	} {
		at = to
		_, err := sourceOf(t, plain.URL+"/list?token=hunter2").fetch(t.Context())
		require.ErrorIs(t, err, errRedirect, name)
		u, _ := url.Parse(to)
		require.ErrorContains(t, err, u.Scheme+"://"+u.Host+"; name the URL that is meant", name)
		require.NotContains(t, err.Error(), "hunter", name)
	}
	require.Empty(t, asked)
	at, referer = plain.URL+"/there", nil
	_, err := sourceOf(t, plain.URL+"/list?token=hunter2").fetch(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"", ""}, referer, "none is told the query")

	for _, tt := range []struct {
		from, to string
		follows  bool
	}{
		{"http://a/x", "https://a/y", true},
		{"http://a:80/x", "https://A:443/y", true},
		{"https://a/x", "https://a:443/y", true},
		{"https://a/x", "http://a/y", false},
		{"https://a:8443/x", "http://a:8443/y", false},
		{"http://a:8080/x", "https://a/y", false},
		{"http://a/x", "https://b/y", false},
	} {
		from, err := http.NewRequest("GET", tt.from, nil)
		require.NoError(t, err)
		to, err := http.NewRequest("GET", tt.to, nil)
		require.NoError(t, err)
		require.Equal(t, tt.follows, stayAtHome(to, []*http.Request{from}) == nil, "%s to %s", tt.from, tt.to)
	}
}

func TestURLSource_StatusOfAServerIsBriefAndHarmless(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 500 \x1b]0;owned\a\x1b[2J"+strings.Repeat("x", 3000)+"\r\nContent-Length: 0\r\n\r\n")
			_ = conn.Close()
		}
	}()
	code, _, stderr := call(t, t.Context(), func(a *app) { a.environ = []string{} }, "ingest", "http://"+l.Addr().String(), "--db", filepath.Join(t.TempDir(), "test.db"))
	require.Equal(t, exitFailure, code)
	require.Contains(t, stderr, "status 500  ]0;owned  [2Jxxx")
	require.NotContains(t, stderr, "\x1b")
	require.Less(t, len(stderr), 500)
}

func sourceOf(t *testing.T, name string) *urlSource {
	s, err := newSource(name, &config.Config{})
	require.NoError(t, err)
	return s.(*urlSource)
}

func TestAServerThatIsNotThere(t *testing.T) {
	server := httptest.NewServer(nil)
	server.Close()
	_, err := sourceOf(t, server.URL).fetch(t.Context())
	require.ErrorContains(t, err, "connection refused")
}

func TestAnImpossibleAddressIsAnError(t *testing.T) {
	s := &urlSource{url: &url.URL{Scheme: "http", Host: "a b"}, timeout: time.Second}
	_, err := s.fetch(t.Context())
	require.Error(t, err)
}

func TestAServerIsAskedEveryInterval(t *testing.T) {
	s := &urlSource{}
	s.wait(t.Context(), time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.wait(ctx, time.Hour)
}

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.json")
	s := &fileSource{path: path}
	_, err := s.fetch(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)

	write := func(text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		s.wait(t.Context(), time.Hour) // returns at once: the file differs from what was read
	}
	write(`[{"matchid":1},`)
	_, err = s.fetch(t.Context())
	require.ErrorContains(t, err, "match list "+path+": invalid match list", "half-written")

	write(oneMatch)
	matches, err := s.fetch(t.Context())
	require.NoError(t, err)
	require.Len(t, matches, 1)

	s.wait(t.Context(), time.Millisecond) // unchanged: the interval ends the wait
}

func TestAFeedChangesAtEveryFetchButTheFirst(t *testing.T) {
	s := newFeedSource()
	require.Equal(t, "a made-up list", fmt.Sprint(s))
	first, err := s.fetch(t.Context())
	require.NoError(t, err)
	require.Empty(t, s.last.Kind)
	second, err := s.fetch(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, s.last.Kind)
	require.NotEqual(t, first, second)
	s.wait(t.Context(), time.Millisecond)
}
