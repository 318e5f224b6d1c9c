package nats

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

func TestNotes(t *testing.T) {
	for _, m := range []note{
		{kind: noteBeat, node: "n", instance: "i"},
		{kind: noteHere, node: strings.Repeat("n", 64), instance: "I-_9", others: []string{"a.b", "c.d"}},
		{kind: noteAsk, node: "n", instance: "i", id: 1<<64 - 1, timeout: time.Minute, subject: "\x00\xff", data: []byte("data")},
		{kind: noteAnswer, node: "n", instance: "i", id: 1, part: 1 << 40, size: answerBytesMax, last: true, late: true, data: bytes.Repeat([]byte("x"), 300)},
	} {
		var got note
		if err := got.decode(m.encode(nil)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v became %+v: %v", m, got, err)
		}
	}
	good := note{kind: noteBeat, node: "n", instance: "i"}
	for what, change := range map[string]func(m *note){
		"no kind":          func(m *note) { m.kind = 0 },
		"another kind":     func(m *note) { m.kind = noteMore + 1 },
		"no name":          func(m *note) { m.node = "" },
		"a long name":      func(m *note) { m.node = strings.Repeat("n", 65) },
		"no instance":      func(m *note) { m.instance = "" },
		"a wildcard":       func(m *note) { m.instance = "*" },
		"a subject":        func(m *note) { m.instance = "a.b" },
		"an odd other":     func(m *note) { m.others = []string{"a"} },
		"an other's name":  func(m *note) { m.others = []string{"*.b"} },
		"a long wait":      func(m *note) { m.timeout = time.Minute + 1 },
		"a large answer":   func(m *note) { m.size = answerBytesMax + 1 },
		"a negative wait":  func(m *note) { m.timeout = -1 },
		"too many of them": func(m *note) { m.others = strings.Split(strings.Repeat("a.b,", noteOthersMax+1), ",") },
	} {
		m := good
		change(&m)
		if err := m.decode(m.encode(nil)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func FuzzNote(f *testing.F) {
	f.Add((&note{kind: noteAsk, node: "n", instance: "i", id: 5, timeout: 7, subject: "s", data: []byte("data")}).encode(nil))
	f.Add((&note{kind: noteHere, node: "n", instance: "i", others: []string{"a.b"}, last: true, late: true, part: 3}).encode(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m, again note
		if m.decode(data) != nil {
			return
		}
		if err := again.decode(m.encode(nil)); err != nil || !bytes.Equal(m.encode(nil), again.encode(nil)) {
			t.Fatalf("%+v became %+v: %v", m, again, err)
		}
	})
}

// TestForeignNotes: what is not ours is counted, and does no harm.
func TestForeignNotes(t *testing.T) {
	s := start(t, nil)
	a, b := open(t, quiet(s, "a")), open(t, quiet(s, "b"))
	b.Answer("subject", func(context.Context, []byte) []byte { return []byte("answer") })
	enter(t, b, "room", "1", "")
	n := &b.nodes
	as := func(kind noteKind) []byte {
		return (&note{kind: kind, node: "z", instance: "Z", id: 77, timeout: time.Second, subject: "room"}).encode(nil)
	}
	foreign := uint64(0)
	for _, x := range []struct {
		subject string
		data    []byte
		foreign bool
	}{
		{n.all, []byte("hello"), true}, {n.ask, []byte{noteVersion}, true}, {n.to(n.instance), []byte{noteVersion + 1}, true}, {n.all, nil, true},
		{n.all, as(noteAsk), true}, {n.all, as(noteAnswer), true}, {n.ask, as(noteBeat), true}, {n.ask, as(noteMore), true},
		{n.to(n.instance), as(noteBeat), true}, {n.to(n.instance), as(noteCount), true},
		{n.to(n.instance), as(noteAnswer), false}, {n.to(n.instance), as(noteMore), false}, // of a question that is over
		{n.ask, as(noteCount), false}, // the key is missing
		{n.all, as(noteBye), false},
	} {
		if err := a.conn.Publish(x.subject, x.data); err != nil {
			t.Fatal(err)
		}
		if x.foreign {
			foreign++
		}
	}
	eventually(t, "all that is foreign", func() bool { return b.counts.foreign.Load() == foreign })
	present(t, a, 1, nil, "1")
	if all, err := a.Ask(t.Context(), "subject", nil); err != nil || len(all.Data) != 1 || string(all.Data[0].Data) != "answer" || all.Missing != nil {
		t.Errorf("%+v %v", all, err)
	}
}

// TestForgedAnswers: what others say in the place of a node is refused, or is theirs.
func TestForgedAnswers(t *testing.T) {
	s := start(t, nil)
	cfg := quiet(s, "a")
	cfg.AskTimeout = 5 * time.Second
	a, b := open(t, cfg), open(t, quiet(s, "b"))
	for what, forged := range map[string][]note{
		"a part too far":  {{part: 1, last: true}},
		"no length":       {{data: []byte{0xff}, last: true}},
		"a part too much": {{data: []byte("12"), size: 3}, {part: 1, data: []byte("34"), last: true}},
	} {
		remove := b.Answer(what, func(context.Context, []byte) []byte {
			for _, m := range forged {
				a.nodes.mu.Lock()
				m.id = a.nodes.lastID
				a.nodes.mu.Unlock()
				m.kind = noteAnswer
				_ = b.say(a.nodes.to(a.nodes.instance), &m)
			}
			return nil
		})
		all, err := a.Ask(t.Context(), what, nil)
		if err != nil || len(all.Data) != 0 || fmt.Sprint(all.Missing) != "[b]" {
			t.Errorf("%s: %+v %v", what, all, err)
		}
		remove()
	}
}

// TestRefusedSaysGoodbye: a node whose answer was refused, and that ends then, is not counted twice: the others are waited for.
func TestRefusedSaysGoodbye(t *testing.T) {
	n := &nodes{parts: make(chan struct{}, partsAtOnce)}
	q := &inquiry{open: 2, replies: map[string]*reply{
		"B": {node: "b", instance: "B", waited: true}, "C": {node: "c", instance: "C", waited: true},
	}}
	q.take(n, &note{kind: noteAnswer, instance: "B", part: 1, last: true})
	q.take(n, &note{kind: noteBye, instance: "B"})
	if q.open != 1 || !q.replies["B"].refused {
		t.Errorf("%d are waited for, not 1", q.open)
	}
}

// TestAnswersAreBounded: where there is no room, a node is missing, and nothing is left over of it.
func TestAnswersAreBounded(t *testing.T) {
	s := start(t, nil)
	cfg := quiet(s, "a")
	cfg.AskTimeout = 10 * time.Second
	a, b := open(t, cfg), open(t, quiet(s, "b"))
	large := make([]byte, 3*partMax)
	b.Answer("large", func(context.Context, []byte) []byte { return large })
	ask := func(missing string, held int) {
		t.Helper()
		all, err := a.Ask(t.Context(), "large", nil)
		if err != nil || fmt.Sprint(all.Missing) != missing || missing == "[]" && len(all.Data[0].Data) != len(large) {
			t.Errorf("missing %v, want %s; %v", all.Missing, missing, err)
		}
		b.nodes.mu.Lock()
		defer b.nodes.mu.Unlock()
		if n := len(b.nodes.held); n != held {
			t.Errorf("%d answers are held, want %d", n, held)
		}
	}
	ask("[]", 0)
	a.nodes.bytes.Add(answerBytesMax - 1<<20)
	ask("[b]", 1) // until its time is over
	a.nodes.bytes.Add(-(answerBytesMax - 1<<20))
	b.nodes.mu.Lock()
	b.nodes.heldBytes += answerBytesMax - 1<<20
	b.nodes.mu.Unlock()
	before := b.Stats().Nodes.Refused
	ask("[b]", 1)
	if now := b.Stats().Nodes.Refused; now != before+1 {
		t.Errorf("%d were refused, want 1", now-before)
	}
	b.nodes.mu.Lock()
	b.nodes.heldBytes -= answerBytesMax - 1<<20
	b.nodes.mu.Unlock()
	ask("[]", 1)
	if n, m := a.nodes.bytes.Load(), len(a.nodes.parts); n != 0 || m != 0 {
		t.Errorf("%d bytes and %d parts are still counted", n, m)
	}
}

// TestQuestionTooLarge is refused where it is asked.
func TestQuestionTooLarge(t *testing.T) {
	a := open(t, quiet(start(t, nil), "a"))
	called := false
	a.Answer("subject", func(context.Context, []byte) []byte {
		called = true
		return nil
	})
	if _, err := a.Ask(t.Context(), "subject", make([]byte, 1<<20)); !strings.Contains(fmt.Sprint(err), broker.ErrTooLarge.Error()) || called {
		t.Errorf("%v, want ErrTooLarge; called: %v", err, called)
	}
}

// TestPresenceIsLarge: many clients, in many parts, and users that are on both nodes are counted once.
func TestPresenceIsLarge(t *testing.T) {
	const each = 20_000
	s := start(t, nil)
	cfg := quiet(s, "a")
	cfg.AskTimeout = 20 * time.Second
	a, b := open(t, cfg), open(t, quiet(s, "b"))
	for i := range each {
		enter(t, a, "room", fmt.Sprint("a", i), fmt.Sprint("user ", i))
		enter(t, b, "room", fmt.Sprint("b", i), fmt.Sprint("user ", i+each/2))
	}
	infos, err := a.Present(t.Context(), "room")
	seen := map[string]string{}
	for _, i := range infos {
		seen[i.Client] = i.User
	}
	if err != nil || len(infos) != 2*each || len(seen) != 2*each || seen["b7"] != fmt.Sprint("user ", 7+each/2) {
		t.Errorf("%d infos of %d clients, %v", len(infos), len(seen), err)
	}
	if n, err := a.Count(t.Context(), "room"); err != nil || n != (broker.Counts{Clients: 2 * each, Users: each + each/2}) {
		t.Errorf("%+v %v", n, err)
	}
}
