package loop

// events is a set of what an owner is told of its socket when it awaits it.
type events uint8

const (
	writable events = 1 << iota
	hangup
)

// Watch makes the owner's Writable be called once, as soon as the kernel takes
// more.
func (s *Socket) Watch() error { return s.await(writable) }

// WatchHangup makes the owner's HungUp be called once, when the peer has ended
// its stream although reading is paused. Not every system can tell.
func (s *Socket) WatchHangup() error { return s.await(hangup) }

// AwaitsWritable reports whether Writable is to come: until then a Write would be
// in vain.
func (s *Socket) AwaitsWritable() bool { return s.awaited&writable != 0 }

func (s *Socket) await(e events) error {
	if s.awaited&e != 0 || s.closing {
		return nil
	}
	s.awaited |= e
	err := s.loop.sys.Watch(s)
	if err != nil {
		s.awaited &^= e
	}
	return err
}

// tell calls the owner for the events that it awaits and that were found.
func (s *Socket) tell(found events) {
	if found &= s.awaited; found == 0 {
		return
	}
	s.awaited &^= found
	s.loop.calling = s
	if found&hangup != 0 {
		s.owner.HungUp()
	}
	if found&writable != 0 && !s.closing {
		s.owner.Writable()
	}
	s.called()
}
