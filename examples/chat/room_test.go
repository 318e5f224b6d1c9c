package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// fake is a connection that remembers what it was told.
type fake struct {
	seen []event
	code protocol.CloseCode
}

// event is anything a client may be told.
type event struct {
	T        string
	O        uint64
	U, Nick  string
	Back     bool
	ID, Text string
	Code     string
	Token    string
	Epoch    string
	Next     uint64
	Lost     bool
	Members  []member
	Messages []event
}

func (f *fake) Send(m engine.Message) error {
	var e event
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return err
	}
	f.seen = append(f.seen, e)
	return nil
}

func (f *fake) Close(code protocol.CloseCode, _ string) error {
	f.code = code
	return nil
}

// take returns what was told since the last take, as "kind:detail".
func (f *fake) take() []string {
	var out []string
	for _, e := range f.seen {
		out = append(out, strings.TrimSuffix(e.T+":"+e.Nick+e.Text, ":"))
	}
	f.seen = nil
	return out
}

func (f *fake) last() event { return f.seen[len(f.seen)-1] }

// guest is a session together with its fake connection.
type guest struct {
	*fake
	*session
	room *room
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func enter(t *testing.T, h *hub, q request) guest {
	t.Helper()
	if q.Room == "" {
		q.Room = "lobby"
	}
	f := &fake{}
	r, s, err := h.join(&q, f, [2]int{}, start)
	if err != nil {
		t.Fatalf("join of %q: %v", q.Nick, err)
	}
	return guest{f, s, r}
}

// say gives each call a time of its own, far enough from the last for the rate.
func (g guest) say(t *testing.T, id, text string) uint64 {
	t.Helper()
	g.rate = bucket{}
	a, err := g.room.say(g.session, &request{ID: id, Text: text}, g.fake, start)
	if err != nil {
		t.Fatalf("say %q: %v", text, err)
	}
	return a.Offset
}

func wantSeen(t *testing.T, g guest, want ...string) {
	t.Helper()
	if got := g.take(); !slices.Equal(got, want) {
		t.Errorf("%s saw %q, want %q", g.session.Nick, got, want)
	}
}

func texts(events []event) []string {
	var out []string
	for _, e := range events {
		out = append(out, e.Text)
	}
	return out
}

func TestPresenceIsToldToTheOthers(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	bob := enter(t, h, request{Nick: "Bob"})
	if w := bob.last(); len(w.Members) != 2 || w.Token == "" || w.Epoch == "" {
		t.Errorf("welcome %+v: want both members, a token and an epoch", w)
	}
	wantSeen(t, ada, "welcome", "join:Bob")
	bob.room.leave(bob.session, bob.fake, start)
	wantSeen(t, ada, "leave:Bob")
	wantSeen(t, bob, "welcome")
}

func TestNamesAreUniqueAmongThosePresent(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	for _, nick := range []string{"Ada", "aDA", " ada "} {
		if _, _, err := h.join(&request{Room: "LOBBY", Nick: nick}, &fake{}, [2]int{}, start); !errors.Is(err, errTaken) {
			t.Errorf("join as %q: %v, want %v", nick, err, errTaken)
		}
	}
	enter(t, h, request{Nick: "Ada", Room: "elsewhere"})
	ada.room.leave(ada.session, ada.fake, start)
	enter(t, h, request{Nick: "ADA"})
	if _, _, err := h.join(&request{Room: "lobby", Nick: "Ada", Token: ada.token}, &fake{}, [2]int{}, start); !errors.Is(err, errTaken) {
		t.Errorf("coming back to a name that is taken: %v, want %v", err, errTaken)
	}
}

func TestMessageIsAcknowledgedThenToldToAll(t *testing.T) {
	h := newHub()
	ada, bob := enter(t, h, request{Nick: "Ada"}), enter(t, h, request{Nick: "Bob"})
	ada.take()
	bob.take()
	ada.say(t, "a1", "hello")
	wantSeen(t, ada, "ack", "msg:Adahello")
	wantSeen(t, bob, "msg:Adahello")
}

func TestMessageSentAgainIsToldOnce(t *testing.T) {
	h := newHub()
	ada, bob := enter(t, h, request{Nick: "Ada"}), enter(t, h, request{Nick: "Bob"})
	first := ada.say(t, "a1", "hello")
	bob.say(t, "a1", "the same id of another session")
	ada.room.leave(ada.session, ada.fake, start)
	ada = enter(t, h, request{Nick: "Ada", Token: ada.token})
	ada.take()
	bob.take()
	if again := ada.say(t, "a1", "hello"); again != first {
		t.Errorf("acknowledged as %d, want %d as before", again, first)
	}
	wantSeen(t, ada, "ack")
	wantSeen(t, bob)
	for i := range 3 * idsMax {
		ada.say(t, fmt.Sprint("b", i), "more")
	}
	if len(ada.ids) != idsMax {
		t.Errorf("%d ids are kept, want %d", len(ada.ids), idsMax)
	}
}

func TestNewcomerSeesTheLastMessages(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	for i := range entryMessages + 7 {
		ada.say(t, fmt.Sprint(i), fmt.Sprint(i))
	}
	w := enter(t, h, request{Nick: "Bob"}).last()
	if len(w.Messages) != entryMessages || w.Messages[0].Text != "7" || w.Lost || w.Next != entryMessages+7 {
		t.Errorf("%d messages from %q, lost %v, next %d", len(w.Messages), w.Messages[0].Text, w.Lost, w.Next)
	}
}

func TestMissedMessagesComeByOffset(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	epoch := ada.last().Epoch
	for i := range historyMax + 10 {
		ada.say(t, fmt.Sprint(i), fmt.Sprint(i+1))
	}
	const newest = historyMax + 10
	for _, c := range []struct {
		name  string
		epoch string
		after uint64
		count int
		first string
		lost  bool
	}{
		{"nothing missed", epoch, newest, 0, "", false},
		{"two missed", epoch, newest - 2, 2, fmt.Sprint(newest - 1), false},
		{"all that is kept", epoch, 10, historyMax, "11", false},
		{"one more than is kept", epoch, 9, entryMessages, fmt.Sprint(newest - entryMessages + 1), true},
		{"another epoch", "OTHER", newest - 2, entryMessages, fmt.Sprint(newest - entryMessages + 1), true},
		{"from the future", epoch, newest + 1, entryMessages, fmt.Sprint(newest - entryMessages + 1), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bob := enter(t, h, request{Nick: "Bob", Epoch: c.epoch, After: c.after})
			defer bob.room.leave(bob.session, bob.fake, start)
			w := bob.last()
			got := texts(w.Messages)
			if len(got) != c.count || w.Lost != c.lost || (c.count > 0 && got[0] != c.first) {
				t.Errorf("%d messages, lost %v: %.3q", len(got), w.Lost, got)
			}
		})
	}
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	for i := range historyMax {
		ada.say(t, fmt.Sprint(i), strings.Repeat("€", textRunesMax))
	}
	kept := 0
	for _, m := range ada.room.messages {
		kept += len(m)
	}
	if kept != ada.room.bytes || kept > historyBytesMax || kept < historyBytesMax-3*textRunesMax-200 {
		t.Errorf("%d bytes are kept and %d counted, want just below %d", kept, ada.room.bytes, historyBytesMax)
	}
}

func TestSessionIsTakenOverWhileTheOldConnectionLingers(t *testing.T) {
	h := newHub()
	old := enter(t, h, request{Nick: "Ada"})
	bob := enter(t, h, request{Nick: "Bob"})
	bob.take()
	ada := enter(t, h, request{Nick: "ada", Token: old.token})
	if ada.session != old.session || old.code != closeReplaced {
		t.Errorf("same session: %v, old connection closed with %d", ada.session == old.session, old.code)
	}
	old.room.leave(old.session, old.fake, start) // what the engine reports later
	wantSeen(t, bob)
	if ada.peer != ada.fake {
		t.Error("the end of the old connection ended the presence of the new one")
	}
}

func TestSessionComesBack(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	bob := enter(t, h, request{Nick: "Bob"})
	ada.room.leave(ada.session, ada.fake, start)
	bob.take()
	again := enter(t, h, request{Nick: "Ada", Token: ada.token})
	if e := bob.last(); again.U != ada.U || e.T != "join" || !e.Back {
		t.Errorf("session %q, was %q; told %+v", again.U, ada.U, e)
	}
	other := enter(t, h, request{Nick: "Eve", Token: again.token})
	if e := bob.last(); other.U == again.U || e.Back || again.code != 0 {
		t.Errorf("another name with the token of Ada: %+v, Ada's connection closed with %d", e, again.code)
	}
}

func TestTypingIsThrottledAndNotStored(t *testing.T) {
	h := newHub()
	ada, bob := enter(t, h, request{Nick: "Ada"}), enter(t, h, request{Nick: "Bob"})
	ada.take()
	bob.take()
	ada.room.hint(ada.session, start)
	ada.room.hint(ada.session, start.Add(typingGap-1))
	wantSeen(t, bob, "typing:Ada")
	ada.room.hint(ada.session, start.Add(typingGap))
	wantSeen(t, bob, "typing:Ada")
	wantSeen(t, ada)
	if len(ada.room.messages) != 0 {
		t.Error("a hint was stored")
	}
}

func TestSayingIsLimitedByRate(t *testing.T) {
	h := newHub()
	ada := enter(t, h, request{Nick: "Ada"})
	say := func(i int, at time.Duration) error {
		_, err := ada.room.say(ada.session, &request{ID: fmt.Sprint(i), Text: "x"}, nil, start.Add(at))
		return err
	}
	for i := range sayBurst {
		if err := say(i, 0); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := say(sayBurst, 0); !errors.Is(err, errSlowDown) {
		t.Errorf("beyond the burst: %v, want %v", err, errSlowDown)
	}
	if err := say(0, 0); err != nil {
		t.Errorf("an acknowledged message sent again: %v", err)
	}
	if err := say(sayBurst, time.Second/sayPerSecond); err != nil {
		t.Errorf("after a pause: %v", err)
	}
}

func TestRoomIsBounded(t *testing.T) {
	h := newHub()
	var g guest
	for i := range sessionsMax + 50 { // come and gone
		g = enter(t, h, request{Nick: fmt.Sprint("gone", i)})
		g.room.leave(g.session, g.fake, start)
	}
	for i := range membersMax {
		enter(t, h, request{Nick: fmt.Sprint("here", i)})
	}
	if n := len(g.room.sessions); n != sessionsMax {
		t.Errorf("%d sessions, want %d", n, sessionsMax)
	}
	if _, _, err := h.join(&request{Room: "lobby", Nick: "late"}, &fake{}, [2]int{}, start); !errors.Is(err, errRoomFull) {
		t.Errorf("one more member: %v, want %v", err, errRoomFull)
	}
}

func TestEmptyRoomsAreDropped(t *testing.T) {
	h := newHub()
	ada, bob := enter(t, h, request{Nick: "Ada"}), enter(t, h, request{Nick: "Bob", Room: "other"})
	ada.room.leave(ada.session, ada.fake, start)
	h.drop(start.Add(linger - 1))
	if len(h.rooms) != 2 {
		t.Error("the room did not wait for Ada")
	}
	h.drop(start.Add(linger))
	if h.find("lobby") != nil || h.find("other") != bob.room {
		t.Errorf("rooms left: %v, want the one with Bob", h.rooms)
	}
}

func TestRoomsAreBounded(t *testing.T) {
	h := newHub()
	for i := range roomsMax {
		g := enter(t, h, request{Nick: "Ada", Room: fmt.Sprint("r", i)})
		if i > 0 && i < 4 { // r3 first, r1 last
			g.room.leave(g.session, g.fake, start.Add(-time.Duration(i)))
		}
	}
	for i, c := range []struct {
		at   time.Duration
		want error
		kept string
	}{{0, nil, "r2"}, {time.Second - 1, errFull, "r2"}, {time.Second, nil, "r1"}, {linger, nil, "r0"}, {2 * linger, errFull, "r0"}} {
		_, _, err := h.join(&request{Room: fmt.Sprint("new", i), Nick: "Ada"}, &fake{}, [2]int{}, start.Add(c.at))
		if !errors.Is(err, c.want) || h.find(c.kept) == nil || len(h.rooms) != roomsMax {
			t.Errorf("one more after %v: %v, want %v; %d rooms, among them %s: %v", c.at, err, c.want, len(h.rooms), c.kept, h.find(c.kept) != nil)
		}
	}
}
