package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/PitchConnect/matchrelay/relay/control"
)

// getMatches lists the matches: outlines, or as they were recorded.
func (a *API) getMatches(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "at", "raw")
	at, raw := q.time("at"), q.flag("raw")
	if q.err != nil {
		return q.err
	}
	giveTime(w)
	matches, err := a.Matches(r.Context(), at)
	if err != nil {
		return described(err)
	}
	w.Header().Set("Content-Type", "application/json")
	separator := "["
	for _, m := range matches {
		item := m.Raw()
		if !raw {
			item, _ = json.Marshal(m.Outline()) // of texts and flags
		}
		giveTime(w)
		_, err := w.Write([]byte(separator))
		if err == nil {
			_, err = w.Write(item)
		}
		if err != nil {
			return nil // nobody is there to be told
		}
		separator = ","
	}
	if len(matches) == 0 {
		_, _ = w.Write([]byte("["))
	}
	_, _ = w.Write([]byte("]\n"))
	return nil
}

// getMatch shows one match.
func (a *API) getMatch(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "at", "raw")
	at, raw := q.time("at"), q.flag("raw")
	if q.err != nil {
		return q.err
	}
	giveTime(w)
	m, err := a.Match(r.Context(), r.PathValue("id"), at)
	if err != nil {
		return described(err)
	}
	if !raw {
		return answerWith(w, m.Outline(), nil)
	}
	giveTime(w)
	reply(w, append(m.Raw()[:len(m.Raw()):len(m.Raw())], '\n'))
	return nil
}

// lastLine is the last one of a list that is not complete.
type lastLine struct {
	Error *control.Error `json:"error"`
}

// getHistory lists the changes of one match, one a line.
func (a *API) getHistory(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r, "raw")
	raw := q.flag("raw")
	if q.err != nil {
		return q.err
	}
	giveTime(w)
	list, unread := a.History(r.Context(), r.PathValue("id"), raw)
	if unread != nil && len(list) == 0 {
		return described(unread)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for _, c := range list {
		giveTime(w)
		if out.Encode(c) != nil {
			return nil // nobody is there to be told
		}
	}
	if unread != nil {
		e := &control.Error{Code: "internal", Message: unread.Error()}
		_ = errors.As(described(unread), &e)
		_ = out.Encode(lastLine{e})
	}
	return nil
}
