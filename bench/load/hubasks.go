//go:build linux

package main

import (
	"errors"
	"fmt"

	centrifugal "github.com/centrifugal/protocol"
)

// asks is clients that send a command, wait for the answer, and send the next one.
type asks struct {
	*hub
	waiting int     // clients that wait for an answer
	askedAt []int64 // of each client
}

func newAsks(l *load) (*asks, error) {
	h, err := newHub(l)
	if err != nil {
		return nil, err
	}
	l.onTurn = func() error { return nil }
	return &asks{hub: h, askedAt: make([]int64, len(h.conns))}, nil
}

func (a *asks) owed() uint64 { return uint64(a.waiting) }

// done takes note that what client i had asked for is done.
func (a *asks) done(i int) error {
	a.waiting--
	a.messages++
	a.counted++
	a.compared++
	return a.latency.RecordValue(a.now() - a.askedAt[i])
}

// hubJoin is the mode hub-join: a message is a join, with the leave behind it.
func (l *load) hubJoin() error {
	a, err := newAsks(l)
	if err != nil {
		return err
	}
	a.alone = true
	at := make([]string, len(a.conns)) // the channel of each client
	next := 0
	join := func(i int) error {
		a.waiting++
		a.askedAt[i] = a.now()
		at[i] = channelName(next % l.o.topics)
		next++
		return a.command(i, &centrifugal.Command{Subscribe: &centrifugal.SubscribeRequest{
			Channel: at[i], Recoverable: l.o.history, Positioned: l.o.history,
		}})
	}
	a.answered = func(i int, r *centrifugal.Reply) error {
		switch {
		case r.Subscribe != nil && at[i] != "":
			if r.Subscribe.Recoverable != l.o.history || (r.Subscribe.Epoch != "") != l.o.history {
				return fmt.Errorf("the answer to subscribe; a history is wanted: %v", l.o.history)
			}
			channel := at[i]
			at[i] = ""
			return a.command(i, &centrifugal.Command{Unsubscribe: &centrifugal.UnsubscribeRequest{Channel: channel}})
		case r.Unsubscribe != nil && at[i] == "":
			if err := a.done(i); err != nil || a.stopped {
				return err
			}
			return join(i)
		}
		return errors.New("nobody asked for it")
	}
	return a.run(func() error {
		for i := range a.conns {
			if err := join(i); err != nil {
				return err
			}
		}
		return nil
	}, a.owed)
}

// hubPresence is the mode hub-presence: a message is the answer to the question who is in a channel.
func (l *load) hubPresence() error {
	a, err := newAsks(l)
	if err != nil {
		return err
	}
	if l.o.inFlight > len(a.conns) {
		return errors.New("-mode hub-presence: -inflight is more than there are clients")
	}
	ask := func(i int) error {
		a.waiting++
		a.askedAt[i] = a.now()
		return a.command(i, &centrifugal.Command{Presence: &centrifugal.PresenceRequest{Channel: a.channels[a.conns[i].group].name}})
	}
	var quiet []int // clients that wait for nothing: the next ones to ask
	for i := range a.conns {
		quiet = append(quiet, i)
	}
	next := func() error {
		i := quiet[0]
		quiet = append(quiet[:0], quiet[1:]...)
		return ask(i)
	}
	return a.run(func() error {
		a.answered = func(i int, r *centrifugal.Reply) error {
			if err := a.present(i, r); err != nil {
				return err
			}
			if err := a.done(i); err != nil || a.stopped {
				return err
			}
			quiet = append(quiet, i)
			return next()
		}
		for range l.o.inFlight {
			if err := next(); err != nil {
				return err
			}
		}
		return nil
	}, a.owed)
}

// present verifies the answer: all members of the channel, and nobody else.
func (a *asks) present(i int, r *centrifugal.Reply) error {
	group := int(a.conns[i].group)
	g := &a.groups[group]
	if r.Presence == nil || uint64(len(r.Presence.Presence)) != g.members {
		return fmt.Errorf("want the %d members of %s", g.members, a.channels[group].name)
	}
	for member := group; member < len(a.conns); member += len(a.groups) {
		who := r.Presence.Presence[a.clients[member].id]
		if who == nil || who.User != user(member) || who.Client != a.clients[member].id {
			return fmt.Errorf("%s is in %s, and it says %v", user(member), a.channels[group].name, who)
		}
	}
	return nil
}
