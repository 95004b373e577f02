package powerloss

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/PitchConnect/matchrelay/outbox"
)

// restart reads what a cut has left, as the next process would find it in a folder, and
// has that process work. It returns what each file holds.
func restart(image Image, folder, main string) (holds map[string]string, err error) {
	if err := image.Leave(folder); err != nil {
		return nil, err
	}
	holds = map[string]string{}
	for path, c := range image {
		if c == nil || draft.MatchString(path) {
			continue
		}
		sum, err := sumOfFile(filepath.Join(folder, path))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		holds[path] = sum
	}
	if err := start(filepath.Join(folder, main)); err != nil {
		return nil, fmt.Errorf("the next start: %w", err)
	}
	return holds, nil
}

// start is the next process: it opens the outbox, or creates it, appends, settles, and verifies.
func start(path string) (err error) {
	o, err := outbox.Open(path, outbox.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	before, err := o.Stats(ctx)
	if err != nil {
		return err
	}
	sequences, err := o.Add(ctx, outbox.Event{Topic: topic, MessageID: "next", Payload: []byte("x")})
	if err != nil {
		return err
	}
	if sequences[0] != before.LastSequence+1 {
		return fmt.Errorf("event %d follows on %d", sequences[0], before.LastSequence)
	}
	if err := o.Settle(ctx, outbox.Receipt{Topic: topic, Through: sequences[0], Origin: before.Origin}); err != nil {
		return err
	}
	report, err := o.Verify(ctx)
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("it does not verify: %q", report.Problems)
	}
	return err
}
