package outbox

// Wake receives after every commit that appended an event. It holds one signal: several commits may share one, and a
// reader looks at every topic when it gets it. One reader only; Appended is for the others.
func (o *Outbox) Wake() <-chan struct{} { return o.wake }

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
	if !l.signals {
		l.signals = true
		l.tx.OnCommit(o.signal)
	}
}

// signal wakes the readers of Wake and Appended; it never blocks.
func (o *Outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.appended != nil {
		close(o.appended)
		o.appended = nil
	}
}
