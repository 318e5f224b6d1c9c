package peers

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	centrifugal "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// subscriber is a client of the Centrifugal protocol.
type subscriber struct {
	*client
	binary bool
	id     uint32
	name   string              // as the server calls it
	read   []byte              // of a message: replies that were not taken
	pushes []*centrifugal.Push // came before an answer
}

const secret = "a secret of the test"

// join connects with a token of a user, and subscribes.
func join(t *testing.T, addr, user string, binary bool, q *centrifugal.SubscribeRequest) (*subscriber, *centrifugal.SubscribeResult) {
	t.Helper()
	o := &codec.Options{Host: addr, Target: "/connection/websocket"}
	if binary {
		o.Subprotocols = []string{"centrifuge-protobuf"}
	}
	s := &subscriber{client: open(t, connect(t, addr), o), binary: binary}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Subject: user}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	r := s.ask(&centrifugal.Command{Connect: &centrifugal.ConnectRequest{Token: token}})
	if r.Connect == nil || r.Connect.Client == "" || r.Connect.Ping != 25 || !r.Connect.Pong {
		t.Fatalf("the answer to connect is %v", r)
	}
	s.name = r.Connect.Client
	if r = s.ask(&centrifugal.Command{Subscribe: q}); r.Subscribe == nil {
		t.Fatalf("the answer to subscribe is %v", r)
	}
	return s, r.Subscribe
}

// connect waits until the server listens, which some say before they do.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var err error
	for range 2000 {
		var nc net.Conn
		if nc, err = net.Dial("tcp", addr); err == nil {
			return nc
		}
		<-tick.C
	}
	t.Fatal(err)
	return nil
}

// ask sends a command and returns the answer.
func (s *subscriber) ask(c *centrifugal.Command) *centrifugal.Reply {
	s.t.Helper()
	s.id++
	c.Id = s.id
	op, encoder := protocol.OpText, centrifugal.CommandEncoder(centrifugal.NewJSONCommandEncoder())
	if s.binary {
		op, encoder = protocol.OpBinary, centrifugal.NewProtobufCommandEncoder()
	}
	b, err := encoder.Encode(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(op, string(b))
	for {
		r := s.next()
		if r.Id == s.id {
			return r
		}
		s.pushes = append(s.pushes, r.Push)
	}
}

// publication is the next one of channel red that is no probe.
func (s *subscriber) publication() *centrifugal.Publication {
	s.t.Helper()
	for {
		var p *centrifugal.Push
		if len(s.pushes) > 0 {
			p, s.pushes = s.pushes[0], s.pushes[1:]
		} else {
			p = s.next().Push
		}
		if p == nil || p.Channel != "red" || p.Pub == nil {
			s.t.Fatalf("received %v, want a publication", p)
		}
		if string(p.Pub.Data) != probe {
			return p.Pub
		}
	}
}

const probe = `{"n":0}` // see spread

// spread returns when what anna publishes reaches bert. Without a history, a publication is lost until anna's node has heard that bert follows
// the channel.
func spread(anna, bert *subscriber) {
	anna.t.Helper()
	for range 2000 {
		anna.ask(&centrifugal.Command{Publish: &centrifugal.PublishRequest{Channel: "red", Data: []byte(probe)}})
		if bert.hears(10 * time.Millisecond) {
			return
		}
	}
	anna.t.Fatal("what is published at one node never comes to the other")
}

// hears reports whether something comes within a time.
func (s *subscriber) hears(d time.Duration) bool {
	if len(s.read)+len(s.in)+len(s.pushes) > 0 {
		return true
	}
	_ = s.nc.SetReadDeadline(time.Now().Add(d))
	n, _ := s.nc.Read(s.scratch[:])
	_ = s.nc.SetReadDeadline(time.Now().Add(patience))
	s.bytes += n
	s.in = s.scratch[:n]
	return n > 0
}

func (s *subscriber) next() *centrifugal.Reply {
	s.t.Helper()
	if len(s.read) == 0 {
		ev := s.event()
		if ev.Kind != codec.Message || (ev.Opcode == protocol.OpBinary) != s.binary {
			s.t.Fatalf("received %v %q (%v)", ev.Kind, ev.Data, s.env.Closed)
		}
		s.read = bytes.Clone(ev.Data)
	}
	var one []byte
	var decoder centrifugal.ReplyDecoder
	if s.binary {
		n, size := binary.Uvarint(s.read)
		one, s.read = s.read[:size+int(n)], s.read[size+int(n):]
		decoder = centrifugal.NewProtobufReplyDecoder(one)
	} else {
		one, s.read, _ = bytes.Cut(s.read, []byte{'\n'})
		decoder = centrifugal.NewJSONReplyDecoder(one)
	}
	r, err := decoder.Decode()
	if err != nil {
		s.t.Fatalf("%q: %v", one, err)
	}
	return r
}

// What the load asks of the hubs, they do: with a history and without, in both formats. In a cluster, those who publish, receive and come back
// are at three nodes.
func TestHubs(t *testing.T) {
	eachOf(t, true, func(t *testing.T, name string) {
		for _, history := range []string{"0", "5"} {
			nodes := strings.Split(start(t, name, "-mode", "hub", "-secret", secret, "-history", history), ",")
			first, last := nodes[0], nodes[len(nodes)-1] // of a cluster; else the same
			for i, binary := range []bool{false, true} {
				keeps := history != "0"
				q := func() *centrifugal.SubscribeRequest {
					return &centrifugal.SubscribeRequest{Channel: "red", Recoverable: keeps, Positioned: keeps}
				}
				anna, at := join(t, first, "anna", binary, q())
				bert, _ := join(t, last, "bert", binary, q())
				if at.Recoverable != keeps || at.Positioned != keeps || (at.Epoch != "") != keeps {
					t.Errorf("history %s: subscribed at %v", history, at)
				}
				if !keeps {
					spread(anna, bert)
				}
				texts := []string{`{"n":1}`, `{"n":2}`, `{"n":3}`}
				check := func(n int, p *centrifugal.Publication) {
					t.Helper()
					offset := at.Offset + uint64(n) + 1
					if !keeps {
						offset = 0
					}
					if string(p.Data) != texts[n] || p.Offset != offset || p.Info == nil || p.Info.User != "anna" || p.Info.Client != anna.name {
						t.Errorf("history %s: %v, want %s at %d", history, p, texts[n], offset)
					}
				}
				for n, text := range texts {
					if r := anna.ask(&centrifugal.Command{Publish: &centrifugal.PublishRequest{Channel: "red", Data: []byte(text)}}); r.Publish == nil {
						t.Errorf("history %s: the answer to publish is %v", history, r)
					}
					check(n, anna.publication())
					check(n, bert.publication())
				}
				_, _ = anna.nc.Close(), bert.nc.Close()
				if !keeps {
					continue
				}
				again := q()
				again.Recover, again.Epoch, again.Offset = true, at.Epoch, at.Offset+1
				if _, back := join(t, nodes[len(nodes)/2], "bert", binary, again); !back.Recovered || len(back.Publications) != 2 {
					t.Errorf("history %s, round %d: came back to %v", history, i, back)
				} else {
					check(1, back.Publications[0])
					check(2, back.Publications[1])
				}
			}
		}
	})
}
