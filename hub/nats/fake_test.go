package nats

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
)

// fake is JetStream with one stream, which answers what a test wants: as if its leader and the server that is asked directly
// did not have the same.
type fake struct {
	t    testing.TB
	conn *natsgo.Conn
	name string

	mu       sync.Mutex // guards what follows
	cfg      jetstream.StreamConfig
	leader   replica
	near     replica // is asked directly
	most     int     // messages in one answer; 0: as many as are asked for
	directly func()  // called after each direct question; nil: nothing
	leads    string  // the name of the leader
	asked    int     // how often the leader was asked for a message
	change   func()  // another one leads after the second question; nil: it does not
	silent   int     // how many questions for the state are not answered
	deaf     int     // and how many direct ones
	looked   func()  // called with each of those questions; nil: nothing
}

// replica is what a server has of the stream.
type replica struct {
	messages    []fakeMessage
	first, last uint64
}

type fakeMessage struct {
	sequence uint64
	subject  string
	data     []byte
	time     time.Time
}

// newFake makes a fake and a node that uses it.
func newFake(t *testing.T) (*fake, *Broker) { return newFakeWithin(t, time.Second) }

// newFakeWithin is newFake with a PublishTimeout.
func newFakeWithin(t *testing.T, within time.Duration) (*fake, *Broker) {
	s := start(t, nil)
	conn, err := natsgo.Connect(s.ClientURL())
	must(t, err)
	t.Cleanup(conn.Close)
	cfg := Config{Server: s, Node: "a", Replicas: 3, Publications: 9, PublishTimeout: within, CompareEvery: time.Hour}
	must(t, cfg.settle())
	f := &fake{t: t, conn: conn, cfg: newPart(&Broker{cfg: cfg}, 0).config(), leads: "one"}
	f.name = f.cfg.Name
	for subject, answer := range map[string]func(m *natsgo.Msg){
		"$JS.API.STREAM.NAMES":             f.names,
		"$JS.API.STREAM.INFO." + f.name:    f.info,
		"$JS.API.STREAM.MSG.GET." + f.name: f.message,
		"$JS.API.DIRECT.GET." + f.name:     f.direct,
	} {
		_, err := conn.Subscribe(subject, answer)
		must(t, err)
	}
	must(t, conn.Flush())
	return f, open(t, cfg)
}

func (f *fake) answer(m *natsgo.Msg, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		f.t.Error(err)
	}
}

func (f *fake) names(m *natsgo.Msg) {
	f.answer(m, map[string]any{"type": "io.nats.jetstream.api.v1.stream_names_response", "total": 1, "streams": []string{f.name}})
}

func (f *fake) info(m *natsgo.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var q struct {
		Subject string `json:"subjects_filter"`
	}
	_ = json.Unmarshal(m.Data, &q)
	if f.looked != nil {
		f.looked()
	}
	if f.silent > 0 {
		f.silent--
		return
	}
	n := uint64(0)
	for _, x := range f.leader.messages {
		if x.subject == q.Subject {
			n++
		}
	}
	f.answer(m, map[string]any{
		"type": "io.nats.jetstream.api.v1.stream_info_response", "config": f.cfg, "ts": time.Now(), "cluster": map[string]any{"leader": f.leads},
		"state": map[string]any{"first_seq": f.leader.first, "last_seq": f.leader.last, "subjects": map[string]uint64{q.Subject: n}},
	})
}

func (f *fake) message(m *natsgo.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var q getRequest
	_ = json.Unmarshal(m.Data, &q)
	found := f.leader.find(q)
	if f.asked++; f.asked == 2 && f.change != nil {
		f.leads = "another"
		f.change()
	}
	if len(found) == 0 {
		f.answer(m, map[string]any{"error": jetstream.APIError{Code: 404, ErrorCode: jetstream.JSErrCodeMessageNotFound}})
		return
	}
	f.answer(m, map[string]any{"message": map[string]any{"seq": found[0].sequence, "subject": found[0].subject, "data": found[0].data, "time": found[0].time}})
}

// find returns what a question is for.
func (r *replica) find(q getRequest) (found []fakeMessage) {
	for _, of := range append(slices.Clone(q.LastOfEach), q.LastOf) {
		for _, x := range slices.Backward(r.messages) {
			if x.subject == of {
				found = append(found, x)
				break
			}
		}
	}
	for _, x := range r.messages {
		if x.subject == q.NextOf && x.sequence >= q.Sequence && len(found) < max(1, q.Batch) {
			found = append(found, x)
		}
	}
	return found
}

func (f *fake) direct(m *natsgo.Msg) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf > 0 {
		f.deaf--
		return
	}
	var q getRequest
	_ = json.Unmarshal(m.Data, &q)
	respond := func(h natsgo.Header, data []byte) {
		if err := m.RespondMsg(&natsgo.Msg{Header: h, Data: data}); err != nil {
			f.t.Error(err)
		}
	}
	found := f.near.find(q)
	if f.directly != nil {
		defer f.directly()
	}
	if f.most > 0 && q.NextOf != "" {
		found = found[:min(len(found), f.most)]
	}
	if len(found) == 0 {
		respond(natsgo.Header{"Status": {"404"}}, nil)
		return
	}
	for _, x := range found {
		respond(natsgo.Header{"Nats-Subject": {x.subject}, "Nats-Sequence": {strconv.FormatUint(x.sequence, 10)}, "Nats-Time-Stamp": {x.time.Format(time.RFC3339Nano)}}, x.data)
	}
	respond(natsgo.Header{"Status": {"204"}, "Nats-UpTo-Sequence": {strconv.FormatUint(f.near.last, 10)}}, nil)
}

// roomOf is a replica with these publications of a channel.
func roomOf(b *Broker, first, last uint64, sequences ...uint64) replica {
	r := replica{first: first, last: last}
	for _, n := range sequences {
		r.messages = append(r.messages, fakeMessage{n, b.storedSubject("room"), (&record{Publication: broker.Publication{Data: fmt.Append(nil, n)}}).encode(nil), time.Now()})
	}
	return r
}

// TestProofs: what a server that was asked has, and what the leader has, and what Read makes of it. A position is recovered only
// if nothing can be missing.
func TestProofs(t *testing.T) {
	t.Parallel()
	const behind = "unavailable" // it has to be asked again
	type has struct {
		first, last uint64
		room        []uint64 // the sequences of the channel that are stored
		removed     uint64   // a removal
	}
	for name, x := range map[string]struct {
		leader, near has
		change       *has // another leader, after two questions for messages
		since        uint64
		limit        int
		want         string // sequences, or why not
		top          uint64
	}{
		"the position is stored":             {leader: has{1, 9, []uint64{2, 5, 9}, 0}, since: 2, want: "[5 9]", top: 9},
		"the newest":                         {leader: has{1, 9, []uint64{2, 5}, 0}, since: 5, want: "[]", top: 9},
		"before the first one":               {leader: has{1, 9, []uint64{5, 9}, 0}, since: 3, want: "[5 9]", top: 9},
		"between two":                        {leader: has{1, 9, []uint64{5, 9}, 0}, since: 7, want: "[9]", top: 9},
		"between two, full":                  {leader: has{1, 20, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 12}, 0}, since: 10, want: "[12]", top: 12},
		"counted out":                        {leader: has{1, 20, []uint64{3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 0}, since: 2, want: "broker: unrecoverable position", top: 12},
		"aged out":                           {leader: has{4, 9, []uint64{5, 9}, 0}, since: 2, want: "broker: unrecoverable position", top: 9},
		"aged out up to the position":        {leader: has{4, 9, []uint64{5, 9}, 0}, since: 3, want: "[5 9]", top: 9},
		"all aged out":                       {leader: has{4, 9, nil, 0}, since: 2, want: "broker: unrecoverable position", top: 9},
		"nothing stored":                     {leader: has{4, 9, nil, 0}, since: 3, want: "[]", top: 9},
		"nothing stored, at the end":         {leader: has{10, 9, nil, 0}, since: 9, want: "[]", top: 9},
		"removed":                            {leader: has{1, 9, []uint64{2, 5, 9}, 7}, since: 2, want: "broker: unrecoverable position", top: 9},
		"removed, and it had all":            {leader: has{1, 9, []uint64{2, 5, 9}, 7}, since: 5, want: "[9]", top: 9},
		"removed, a part of what follows":    {leader: has{1, 9, []uint64{2, 5, 9}, 7}, since: 2, limit: 1, want: "broker: unrecoverable position", top: 9},
		"removed before the position":        {leader: has{1, 9, []uint64{2, 5, 9}, 3}, since: 4, want: "[5 9]", top: 9},
		"a part":                             {leader: has{1, 9, []uint64{2, 5, 9}, 0}, since: 2, limit: 1, want: "[5]", top: 9},
		"all but one":                        {leader: has{1, 9, []uint64{2, 5, 7, 9}, 0}, since: 2, limit: 2, want: "[5 7]", top: 9},
		"a server that is behind":            {leader: has{1, 9, []uint64{2, 5, 9}, 0}, near: has{1, 6, []uint64{2, 5}, 0}, since: 2, want: behind},
		"one that is far behind":             {leader: has{1, 9, []uint64{5, 9}, 0}, near: has{1, 4, nil, 0}, since: 3, want: behind},
		"one that is behind, nothing missed": {leader: has{1, 9, []uint64{2, 5}, 0}, near: has{1, 6, []uint64{2, 5}, 0}, since: 5, want: "[]", top: 9},
		"one that has removed more":          {leader: has{1, 9, []uint64{4, 5, 9}, 0}, near: has{5, 9, []uint64{5, 9}, 0}, since: 3, want: "broker: unrecoverable position", top: 9},
		"one that has removed all":           {leader: has{1, 9, []uint64{4}, 8}, near: has{6, 9, nil, 8}, since: 3, want: behind},
		"one that lacks a removal":           {leader: has{1, 9, []uint64{2, 5}, 9}, near: has{1, 8, []uint64{2, 5}, 0}, since: 2, want: "broker: unrecoverable position", top: 5},
		"a leader that has removed less": {leader: has{5, 9, []uint64{5, 9}, 0}, change: &has{1, 9, []uint64{4, 5, 9}, 0}, since: 3,
			want: "broker: unrecoverable position", top: 9},
		"a leader that has removed less than all": {leader: has{6, 9, nil, 0}, change: &has{1, 9, []uint64{4}, 0}, since: 3,
			want: "broker: unrecoverable position", top: 9},
	} {
		t.Run(name, func(t *testing.T) {
			f, b := newFake(t)
			replicaOf := func(h has) replica {
				r := roomOf(b, h.first, h.last, h.room...)
				if h.removed > 0 {
					r.messages = append(r.messages, fakeMessage{h.removed, b.removalSubject("room"), nil, time.Now()})
				}
				return r
			}
			f.mu.Lock()
			f.leader, f.near = replicaOf(x.leader), replicaOf(x.near)
			if x.near.last == 0 {
				f.near = f.leader
			}
			if x.change != nil {
				f.change = func() { f.leader = replicaOf(*x.change) }
			}
			f.mu.Unlock()
			q := broker.Query{Since: &broker.Position{Offset: x.since, Epoch: f.name}, Limit: broker.NoLimit}
			if x.limit > 0 {
				q.Limit = x.limit
			}
			page, err := b.history.parts[0].read(ctx, "room", q)
			var got []uint64
			at := *q.Since
			for _, p := range page.Publications {
				if !p.Follows(at) || string(p.Data) != fmt.Sprint(p.Offset) {
					t.Errorf("%+v with Prev %d does not follow %+v", p.Position, p.Prev, at)
				}
				at = p.Position
				got = append(got, p.Offset)
			}
			if x.want == behind {
				if !errors.Is(err, errBehind) {
					t.Fatalf("%v, error %v", got, err)
				}
				return
			}
			text := fmt.Sprint(got)
			if err != nil {
				text = err.Error()
			}
			if text != x.want || page.Top != (broker.Position{Offset: x.top, Epoch: f.name}) {
				t.Errorf("%s, top %+v, want %s and %d", text, page.Top, x.want, x.top)
			}
		})
	}
}
