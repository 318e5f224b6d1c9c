package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sockmill/sockmill/protocol"
)

// simSend is a message that the program sent to a connection.
type simSend struct {
	message simMessage
	seq     int // of the call
	policy  Policy
	key     string
	refused bool
	arrived bool
}

// act is the program doing something, to this connection or another.
func (c *simConn) act() {
	s := c.s
	if s.chance(250) {
		if live := s.live(); len(live) > 0 {
			c = live[s.r.IntN(len(live))]
		}
	}
	if s.chance(300) { // another goroutine, at the same time
		was := make([]bool, len(s.loops))
		for i, l := range s.loops {
			was[i] = l.SetOn(false)
		}
		defer func() {
			for i, l := range s.loops {
				l.SetOn(was[i])
			}
		}()
	}
	switch n := s.r.IntN(100); {
	case n < 50:
		c.send(nil)
	case n < 60:
		for range s.r.IntN(s.pick(40, 150)) {
			c.send(nil)
		}
	case n < 65:
		c.api("Ping", func() error { return c.c.Ping([]byte("from the server")) })
	case n < 68:
		for range 1 + s.r.IntN(4) {
			s.publish(s.r.IntN(simTopics+1) - 1)
			if s.chance(300) {
				c.join(s.r.IntN(simTopics))
			}
		}
		if s.chance(50) {
			c.api("Close", func() error { return c.c.Close(4000, "enough") })
		}
	case n < 70:
		c.join(s.r.IntN(simTopics))
	case n < 71:
		c.closeNow()
	case n < 72:
		c.api("Close", func() error { return c.c.Close(4000, "enough") })
	case n < 73:
		c.abort()
	case n < 76:
		c.timer()
	case n < 77:
		c.post()
	case n < 79:
		if c.opens > 0 {
			c.offload(Message{Data: []byte("elsewhere")})
		}
	case n < 80:
		if c.opens > c.closes {
			c.endSession()
		}
	case n < 86 && !s.calm: // or it would stay so
		c.api("PauseReading", c.c.PauseReading)
	default:
		c.api("ResumeReading", c.c.ResumeReading)
	}
}

// elsewhere is the program doing something outside of callbacks.
func (s *sim) elsewhere() {
	if live := s.live(); len(live) > 0 {
		live[s.r.IntN(len(live))].act()
	}
}

// api calls a method that may be refused only because the connection is not
// open, or because a message that was published before closes it first.
func (c *simConn) api(name string, f func() error) {
	open, closing := c.c.end.phase.Load() == phaseOpen, name == "Close" && c.c.end.posted.Load()&closePosted != 0
	behind := c.here() == 1 && c.l.w.fans.len() > 0
	c.s.tracef("%v: the program calls %s", c, name)
	c.s.calling++
	err := f()
	c.s.calling--
	switch {
	case err == nil && (open || name == "Close" && c.c.end.phase.Load() == phaseClosing):
	case errors.Is(err, ErrClosed) && (!open || closing || behind && c.c.end.phase.Load() > phaseOpen):
	case err == nil && name == "Close": // in the handshake
	default:
		c.s.failf("%v: %s says %v", c, name, err)
	}
}

// closeNow calls CloseNow.
func (c *simConn) closeNow() {
	s, cc := c.s, c.c
	over, twice, open := cc.end.phase.Load() >= phaseEnding, cc.end.posted.Load()&closeNowPosted != 0, cc.end.phase.Load() == phaseOpen
	s.calling++
	err := cc.CloseNow(&CloseError{Code: 4001, Reason: "at once", Err: errOnPurpose})
	s.calling--
	s.tracef("%v: the program calls CloseNow: %v", c, err)
	if err != nil && !(errors.Is(err, ErrClosed) && (over || twice)) {
		s.failf("%v: CloseNow says %v", c, err)
	}
	if cc.w.loop.On() && open {
		c.closedNow = true
	}
}

// abort calls Abort.
func (c *simConn) abort() {
	s, cc := c.s, c.c
	gone, over, twice := cc.end.phase.Load() == phaseGone, cc.end.stream == streamCut, cc.end.posted.Load()&abortPosted != 0
	s.calling++
	err := cc.Abort()
	s.calling--
	s.tracef("%v: the program calls Abort: %v", c, err)
	if err != nil && !(errors.Is(err, ErrClosed) && (gone || twice)) {
		s.failf("%v: Abort says %v", c, err)
	}
	if cc.w.loop.On() && !gone && !over {
		c.aborted = true
	}
}

// message makes a message that can be told from all others.
func (s *sim) message(kind string, data []byte) (Message, *simSend) {
	s.messages++
	m := Message{Type: Binary, Policy: Policy(s.r.IntN(int(PolicyReplace) + 1))}
	if s.chance(300) {
		m.Policy = PolicyClose
	}
	if data == nil {
		data = simBytes[:s.size()]
	}
	m.Data = append(append(s.payload[:0], fmt.Sprintf("%s%d ", kind, s.messages)...), data...)
	if s.payload = m.Data; s.chance(100) {
		m.Type = Text
		m.Data = fmt.Appendf(s.payload[:0], "%s%d text", kind, s.messages)
	}
	p := m.Policy
	if p == 0 {
		p = s.e.set.Policy
	}
	return m, &simSend{message: simMessage{protocol.Opcode(m.Type), string(m.Data)}, seq: s.messages, policy: p}
}

// send sends a message of which data is the end.
func (c *simConn) send(data []byte) {
	s := c.s
	m, x := s.message("s", data)
	on := c.here()
	if key := s.r.IntN(4); key > 0 {
		m.Key = fmt.Sprint(key, " from ", on) // the order across senders is nobody's
	}
	x.key = m.Key
	c.add(on, x)
	open, queued, behind := c.c.end.phase.Load() == phaseOpen, c.c.out.queued.Load(), on == 1 && c.l.w.fans.len() > 0
	s.calling++
	err := c.c.Send(m)
	s.calling--
	s.tracef("%v: the program sends %.12q, %d bytes, policy %d, key %q: %v", c, m.Data, len(m.Data), m.Policy, m.Key, err)
	for i := range m.Data { // Send copies
		m.Data[i] = 0xdc
	}
	switch {
	case err == nil && open:
		c.counted++
	case errors.Is(err, ErrBackpressure) && open:
		if c.counted++; queued < int64(s.e.set.SendBytesMax) && !behind {
			s.failf("%v: refused with %d bytes waiting", c, queued)
		}
		x.refused = true
	case errors.Is(err, ErrClosed) && (!open || behind && c.c.end.phase.Load() > phaseOpen):
		x.refused = true
	default:
		s.failf("%v: Send says %v", c, err)
	}
}

// here is 1 on the connection's loop, else 0: the index of its sender.
func (c *simConn) here() int {
	if c.l.w.loop.On() {
		return 1
	}
	return 0
}

// add puts a send in its place: a broadcast reaches a connection that came
// after the call.
func (c *simConn) add(from int, x *simSend) {
	list := c.sends[from]
	i := len(list)
	for i > 0 && list[i-1].seq > x.seq {
		i--
	}
	if i < c.passed[from] {
		c.s.failf("%v: a later message overtook %.20q", c, x.message.data)
	}
	c.sends[from] = slices.Insert(list, i, x)
	c.sent[x.message.data] = x
}

// simTopics is how many topics there are.
const simTopics = 2

// join subscribes to a topic, or ends that.
func (c *simConn) join(topic int) {
	if !c.c.w.loop.On() || c.c.end.phase.Load() != phaseOpen {
		return // whom a message is for would be nobody's to say
	}
	name, f := "Subscribe", c.c.Subscribe
	if c.member[topic] {
		name, f = "Unsubscribe", c.c.Unsubscribe
	}
	c.member[topic] = !c.member[topic]
	c.api(name, func() error { return f(fmt.Sprint(topic)) })
}

// publish sends to the members of a topic, or to every connection if it is -1.
// Whom it is for is decided when the loop's turn comes.
func (s *sim) publish(topic int) {
	m, x := s.message("b", nil)
	var but *simConn
	if live := s.live(); len(live) > 0 && s.chance(200) {
		but = live[s.r.IntN(len(live))]
	}
	s.tracef("the program publishes %.12q to %d but %v, %d bytes, policy %d", m.Data, topic, but, len(m.Data), m.Policy)
	for _, l := range s.loops {
		from := 0
		if l.w.loop.On() {
			from = 1
		}
		to := func() {
			for _, c := range s.conns {
				if c.l == l && c != but && c.c.end.phase.Load() == phaseOpen && (topic < 0 && c.d == nil || topic >= 0 && c.member[topic]) {
					one := *x
					c.add(from, &one)
					c.counted++
				}
			}
		}
		if from == 1 {
			to()
		} else {
			_ = l.w.post(post{do: func() { to(); s.goOn = true }}) // with the publishing post
		}
	}
	var not *Conn
	if but != nil {
		not = but.c
	}
	s.calling++
	var err error
	if topic < 0 {
		err = s.e.BroadcastExcept(m, not)
	} else {
		err = s.e.PublishExcept(fmt.Sprint(topic), m, not)
	}
	s.calling--
	for i := range m.Data {
		m.Data[i] = 0xdc
	}
	if err != nil {
		s.failf("publishing says %v", err)
	}
}

// delivered holds a message that the peer received against what was sent: it
// must be one that was accepted, no message of the policy PolicyClose may be missing
// before it, and none of the same sender may have overtaken it. One that
// replaced another stands in its place.
func (c *simConn) delivered(m simMessage) {
	x := c.sent[m.data]
	c.s.tracef("%v: the peer receives %.12q", c, m.data)
	switch {
	case x == nil || x.message.op != m.op:
		c.s.failf("%v: received %.30q, which nobody sent", c, m.data)
		return
	case x.arrived:
		c.s.failf("%v: received %.20q again", c, m.data)
	case x.refused:
		c.s.failf("%v: received %.20q, which was refused", c, m.data)
	}
	from := 0
	if !slices.Contains(c.sends[0], x) {
		from = 1
	}
	x.arrived = true
	for i, other := range c.sends[from][c.passed[from]:] {
		replaced := x.policy == PolicyReplace && x.key != "" && other.policy != PolicyClose && other.key == x.key && !other.refused && !other.arrived
		if other == x || replaced {
			c.passed[from] += i + 1
			return
		}
		if other.policy == PolicyClose && !other.refused {
			c.s.failf("%v: received %.20q without %.20q before it", c, m.data, other.message.data)
			return
		}
	}
	c.s.failf("%v: received %.20q out of order", c, m.data)
}
