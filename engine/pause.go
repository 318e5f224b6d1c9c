package engine

// pauseReasons is a set; reading resumes when it is empty.
type pauseReasons uint16

const (
	pausedBacklog  pauseReasons = 1 << iota // too much waits to be sent
	pausedUser                              // PauseReading
	pausedOffload                           // a function of Go runs
	pausedRate                              // the peer sends too much
	pausedHeld                              // Hold
	pausedUpgrade                           // a function of Upgrade.Go decides the handshake
	pausedTurn                              // the rest of its input waits for a later turn
	pausedPipe                              // too much waits for the connection that Pipe joined it to
	pausedOperator                          // PauseByOperator
)

// PauseReading stops reading from the connection, so that TCP makes the peer
// wait; messages that have arrived already are delivered after ResumeReading.
// While reading is paused the peer's silence is not held against it.
func (c *Conn) PauseReading() error {
	return c.onLoop(func() { c.pause(pausedUser) })
}

// ResumeReading ends what PauseReading began.
func (c *Conn) ResumeReading() error {
	return c.onLoop(func() { c.unpause(pausedUser) })
}

// PauseByOperator is PauseReading with a reason of its own, for those who operate the
// program: ResumeReading, which the program calls, does not end it.
func (c *Conn) PauseByOperator() error {
	return c.onLoop(func() { c.pause(pausedOperator) })
}

// ResumeByOperator ends what PauseByOperator began.
func (c *Conn) ResumeByOperator() error {
	return c.onLoop(func() { c.unpause(pausedOperator) })
}

// onLoop runs f on the connection's loop, at once if this is it.
func (c *Conn) onLoop(f func()) error {
	switch {
	case c.end.phase.Load() != phaseOpen:
		return ErrClosed
	case c.w.loop.On():
		f()
		return nil
	default:
		return c.w.post(post{do: f})
	}
}

// pause adds a reason not to read. Where reading cannot be paused, it goes on,
// and the bounds of what is queued close the connection.
func (c *Conn) pause(why pauseReasons) {
	if c.end.phase.Load() != phaseOpen && why != pausedUpgrade {
		return
	}
	if !c.in.halted {
		if c.in.halted = c.sock.Pause(); !c.in.halted {
			return
		}
		c.needExtra().paused = c.w.now()
	}
	c.in.paused |= why
}

// unpause takes a reason away; the connection is attended to and, if it was the
// last, resumes.
func (c *Conn) unpause(why pauseReasons) {
	c.in.paused &^= why
	c.w.mark(c)
}

// resume reads again, and first takes what arrived while reading was paused.
func (c *Conn) resume() {
	c.in.halted = false
	if c.w.now() > c.needExtra().paused {
		c.in.life = heard // it may have answered meanwhile: its time begins anew
	}
	c.sock.Resume()
	parked := c.input().parked
	if parked == nil {
		return
	}
	c.needInput().parked = nil
	if c.end.phase.Load() < phaseEnding {
		c.receive(parked)
	}
	c.w.env.Buffers.Put(parked)
}
