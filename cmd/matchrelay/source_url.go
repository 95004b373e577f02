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

// mostRedirects is as many as net/http follows.
const mostRedirects = 10

var errRedirect = errors.New("it redirects to another server, which is not asked")

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
			err = withURL.Err
			if !errors.Is(err, errRedirect) {
				err = fmt.Errorf("%w; check the URL, and whether that service answers", err)
			}
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
	client := http.Client{CheckRedirect: stayAtHome}
	response, err := client.Do(request)
	if err != nil {
		if strings.Contains(err.Error(), "failed to parse Location header") { // it quotes the header, login and all
			return nil, errors.New("it redirects to what is no URL; look at the log of that service")
		}
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s, expected 200; look at the log of that service", brief(response.Status))
	}
	return schema.DecodeMatches(response.Body)
}

// stayAtHome follows redirects within one host and port only, and from http to https where both have their usual ports: another
// server is not the one that was configured. None is told where a request came from: a query may hold a token.
func stayAtHome(next *http.Request, before []*http.Request) error {
	next.Header.Del("Referer")
	if len(before) >= mostRedirects {
		return fmt.Errorf("stopped after %d redirects", mostRedirects)
	}
	from, to := before[len(before)-1].URL, next.URL
	same := from.Scheme == to.Scheme && portOf(from) == portOf(to)
	upgrade := from.Scheme == "http" && portOf(from) == "80" && to.Scheme == "https" && portOf(to) == "443"
	if !strings.EqualFold(from.Hostname(), to.Hostname()) || !same && !upgrade {
		return fmt.Errorf("%w: %s; name the URL that is meant", errRedirect, brief(to.Scheme+"://"+to.Host))
	}
	return nil
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}
