package nats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/hub/broker"
)

// outsider is a connection of somebody else.
func outsider(t testing.TB, s *server.Server) *natsgo.Conn {
	t.Helper()
	c, err := natsgo.Connect(s.ClientURL())
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// republished is what a stream makes of a publication.
func republished(b *Broker, channel, stream, sequence, before, data string) *natsgo.Msg {
	m := natsgo.NewMsg(b.liveSubject(channel))
	m.Header = natsgo.Header{"Nats-Stream": {stream}, "Nats-Sequence": {sequence}, "Nats-Last-Sequence": {before}, "Nats-Subject": {"x"}}
	m.Data = (&record{Publication: text(data), Lifetime: time.Minute}).encode(nil)
	return m
}

// TestPositions: what a stream republishes has a position, and comes by rising offsets.
func TestPositions(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	room, c := follow(t, b, "room"), outsider(t, s)
	at := func(offset uint64, epoch string) broker.Position {
		return broker.Position{Offset: offset, Epoch: epoch}
	}
	var want []broker.Publication
	for _, x := range []struct {
		stream, sequence, before string
		want                     broker.Position // zero: it does not come
		prev                     uint64
	}{
		{"sockmill-0-x", "5", "3", at(5, "sockmill-0-x"), 3},
		{"sockmill-0-x", "9", "5", at(9, "sockmill-0-x"), 5},
		{"sockmill-0-x", "9", "5", at(0, ""), 0}, // again
		{"sockmill-0-x", "8", "5", at(0, ""), 0}, // too late
		{"sockmill-0-x", "10", "0", at(10, "sockmill-0-x"), 10},
		{"sockmill-0-y", "2", "1", at(2, "sockmill-0-y"), 1}, // another stream
		{"sockmill-0-y", "18446744073709551615", "2", at(1<<64-1, "sockmill-0-y"), 2},
	} {
		data := fmt.Sprint(x.stream, x.sequence)
		must(t, c.PublishMsg(republished(b, "room", x.stream, x.sequence, x.before, data)))
		if x.want.Offset > 0 {
			want = append(want, broker.Publication{Position: x.want, Prev: x.prev, Data: []byte(data)})
		}
	}
	must(t, c.Publish(b.liveSubject("room"), (&record{Publication: text("end")}).encode(nil)))
	for _, w := range append(want, text("end")) {
		if p := next(t, "a publication", room.got); fmt.Sprint(p) != fmt.Sprint(w) {
			t.Errorf("%+v, want %+v", p, w)
		}
	}
}

// TestForeignMessages: each is counted, one is logged, and what is ours comes after it.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	core, logs := observer.New(zap.WarnLevel)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true, Logger: zap.New(core)})
	room, c := follow(t, b, "room"), outsider(t, s)
	live := b.liveSubject("room")
	good := republished(b, "room", "sockmill-0-x", "5", "3", "").Data
	foreign := []*natsgo.Msg{
		{Subject: live},
		{Subject: live, Data: []byte(`{"hello":1}`)},
		{Subject: live, Data: make([]byte, 1<<20)},
		{Subject: live, Data: good[:len(good)-1]},
		republished(b, "room", "others", "5", "3", ""),
		republished(b, "room", "sockmill-0-x", "", "3", ""),
		republished(b, "room", "sockmill-0-x", "0", "0", ""),
		republished(b, "room", "sockmill-0-x", "-1", "0", ""),
		republished(b, "room", "sockmill-0-x", "5", "", ""),
		republished(b, "room", "sockmill-0-x", "5", "5", ""),
		republished(b, "room", "sockmill-0-x", "18446744073709551616", "5", ""),
	}
	// Nobody follows these.
	shard, _, _ := strings.Cut(strings.TrimPrefix(live, b.livePrefix), ".")
	nobody := []string{"other", "%72oom", "%", "room%", strings.Repeat("x", 256), strings.Repeat("%00", 256)}
	for _, m := range foreign {
		must(t, c.PublishMsg(m))
	}
	for _, token := range nobody {
		must(t, c.Publish(b.livePrefix+shard+"."+token, good))
	}
	must(t, c.PublishMsg(republished(b, "room", "sockmill-0-x", "1", "0", "end")))
	if p := next(t, "a publication", room.got); string(p.Data) != "end" {
		t.Errorf("%+v was delivered", p)
	}
	if x := b.Stats(); x.Foreign != uint64(len(foreign)) || x.Passed != uint64(len(nobody)) || x.Delivered != 1 {
		t.Errorf("%+v, want %d foreign and %d for nobody", x, len(foreign), len(nobody))
	}
	if n := logs.FilterMessage("a message on a subject of ours is not ours").Len(); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := start(t, func(o *server.Options) { o.MaxPayload = 1000 })
	b := open(t, Config{Server: s, Node: "a", NoHistory: true})
	room := follow(t, b, "room")
	rest := len((&record{Publication: broker.Publication{Data: make([]byte, 900)}}).encode(nil)) - 900
	for _, p := range []broker.Publication{
		{Data: make([]byte, 1000-rest+1)},
		{Data: make([]byte, 64*mib)},
		{Except: []string{strings.Repeat("x", 1000)}},
		{Tags: manyTags()},
	} {
		if err := b.Publish(ctx, "room", p); err == nil || !strings.HasPrefix(err.Error(), broker.ErrTooLarge.Error()) {
			t.Errorf("%d bytes: %v", len(p.Data), err)
		}
	}
	must(t, b.Publish(ctx, "room", broker.Publication{Data: make([]byte, 1000-rest)}))
	if p := next(t, "a publication", room.got); len(p.Data) != 1000-rest {
		t.Errorf("%d bytes", len(p.Data))
	}
}

// crowd is a receiver that counts, and waits in Deliver, which is against the rules, until go on is closed.
type crowd struct {
	*inbox
	n         int
	came      chan struct{} // something has come
	goOn, end chan struct{}
}

func (c *crowd) Deliver(_ string, p broker.Publication) {
	select {
	case c.came <- struct{}{}:
	default:
	}
	<-c.goOn
	c.n++
	if string(p.Data) == "end" {
		close(c.end)
	}
}

// TestTooSlow: what had to be dropped is counted, and the channels of its shard are told, and no others.
func TestTooSlow(t *testing.T) {
	t.Parallel()
	const more = 100
	s := start(t, nil)
	b := open(t, Config{Server: s, Node: "a", NoHistory: true, Shards: 8})
	var mate, lane, other string // of the shard of "slow", of another one of its lane, and of another lane
	for i := 0; mate == "" || lane == "" || other == ""; i++ {
		switch name := fmt.Sprint(i); {
		case b.shardOf(name) == b.shardOf("slow"):
			mate = name
		case b.shardOf(name)%lanes == b.shardOf("slow")%lanes:
			lane = name
		default:
			other = name
		}
	}
	slow := &crowd{inbox: newInbox(), came: make(chan struct{}, 1), goOn: make(chan struct{}), end: make(chan struct{})}
	must(t, b.Subscribe(ctx, "slow", slow))
	mates, laned, others := follow(t, b, mate), follow(t, b, lane), follow(t, b, other)
	must(t, b.Publish(ctx, "slow", text("first")))
	next(t, "the first", slow.came)
	for range laneMessages + more {
		must(t, b.Publish(ctx, "slow", broker.Publication{}))
	}
	must(t, b.Publish(ctx, other, text("meanwhile"))) // behind all of them
	if p := next(t, "what is not held up", others.got); string(p.Data) != "meanwhile" {
		t.Errorf("%+v", p)
	}
	close(slow.goOn)
	for _, r := range []*inbox{slow.inbox, mates} {
		next(t, "Interrupted", r.interrupted)
	}
	must(t, b.Publish(ctx, "slow", text("end")))
	next(t, "what came later", slow.end)
	if x := b.Stats(); x.Lost != more || x.Interrupted != 2 || slow.n != 1+laneMessages+1 {
		t.Errorf("%d delivered, %+v", slow.n, x)
	}
	if len(laned.interrupted)+len(others.interrupted) > 0 {
		t.Error("others were interrupted")
	}
}
