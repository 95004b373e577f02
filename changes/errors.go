package changes

import "errors"

var (
	// ErrEmptyList: an empty list came after one with matches. A source that
	// fails often answers with an empty list, so this is refused unless
	// Metadata.AllowEmpty says that every match is really gone.
	ErrEmptyList = errors.New("the match list is empty although matches are stored; allow it explicitly if they are really all gone")
	// ErrStale: the list was fetched before one that is recorded already
	// (Metadata.FetchedAt); recording it would set subscribers back.
	ErrStale = errors.New("the match list is older than the recorded one")
	// ErrNoState: no list was ever recorded or imported.
	ErrNoState = errors.New("no match list is recorded")
	// ErrState: the stored state cannot be read.
	ErrState = errors.New("the stored match list is damaged")
)
