package outbox

// Appended returns a channel that is closed by the next commit that appends an event. Any number of readers may wait for
// it: take the channel, read what is there, wait, and take the next one. Nothing runs for those who wait.
func (o *Outbox) Appended() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.appended == nil {
		o.appended = make(chan struct{})
	}
	return o.appended
}

// signalOnCommit has the transaction wake them when it has committed, once.
func (o *Outbox) signalOnCommit(l *ledger) {
	if !l.signals && !l.shared { // else Update wakes them, whatever the handlers of its closures do
		l.tx.OnCommit(o.signal)
	}
	l.signals = true
}

// signal wakes who waits for Appended; it never blocks.
func (o *Outbox) signal() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.appended != nil {
		close(o.appended)
		o.appended = nil
	}
}
