package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/PitchConnect/matchrelay/schema"
)

// fetchTimeout bounds one request with all its redirects and the whole body. Its size is bounded by schema.MaxListBytes.
const fetchTimeout = 30 * time.Second

var errSource = errors.New("--source: expected a file, or an http:// or https:// URL with a host")

// urlSource is a match list that a server answers GET with.
type urlSource struct {
	url     *url.URL
	timeout time.Duration
}

// String leaves out credentials and the query, which may hold a token.
func (s *urlSource) String() string {
	shown := url.URL{Scheme: s.url.Scheme, Host: s.url.Host, Path: s.url.Path}
	return shown.String()
}

func (s *urlSource) wait(ctx context.Context, interval time.Duration) { sleep(ctx, interval) }

func (s *urlSource) fetch(ctx context.Context) ([]schema.Match, error) {
	matches, err := s.get(ctx)
	if err != nil {
		// An *url.Error quotes the URL with its query.
		var withURL *url.Error
		if errors.As(err, &withURL) {
			err = fmt.Errorf("%w; check the URL, and whether that service answers", withURL.Err)
		}
		return nil, fmt.Errorf("get %s: %w", s, err)
	}
	return matches, nil
}

func (s *urlSource) get(ctx context.Context) ([]schema.Match, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	// A connection of its own: cycles are minutes apart, and the one of the last may be dead.
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		if strings.Contains(err.Error(), "failed to parse Location header") { // it quotes the header, login and all
			return nil, errors.New("it redirects to what is no URL; look at the log of that service")
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s, expected 200; look at the log of that service", response.Status)
	}
	return schema.DecodeMatches(response.Body)
}
