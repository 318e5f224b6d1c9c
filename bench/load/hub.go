//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	centrifugal "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/protocol"
)

// hub is the load on a server of the Centrifugal protocol: each connection is a client
// with a user of its own that is subscribed to the channel of its group.
//
// Every publication is verified whole. The first member that receives it has it decoded
// and compared with what was published; the others have to receive the same bytes.
type hub struct {
	*fanOut
	opcode   protocol.Opcode
	encoder  centrifugal.CommandEncoder
	clients  []client
	channels []channel
	joined   int    // clients that are subscribed
	news     int    // publications that were pushed in what was read
	answers  uint64 // to publications, that are owed
	returned func(i int) error

	// Of the modes whose clients do something else than to follow one channel; nil: they do that.
	apart    bool                                    // who publishes subscribes to nothing
	alone    bool                                    // they are welcome once connect is answered, and subscribe to nothing
	answered func(i int, r *centrifugal.Reply) error // to the last command
	told     func(i int, p *centrifugal.Push) error  // a publication
}

// client is a connection to the hub.
type client struct {
	stage stage
	token string
	id    string   // as the server calls it
	pong  bool     // pings are to be answered
	last  uint32   // number of the last command
	owed  []uint32 // those of its publications that are not answered
	out   []byte   // frames that wait to be written
	away  bool     // was cut, and comes back
	got   uint64   // publications that it had then
}

type stage uint8

const (
	connects stage = iota
	subscribes
	follows
)

// channel is what the members of a group are subscribed to.
type channel struct {
	name      string
	epoch     string
	first     uint64   // offset of the first publication
	last      uint64   // -sparse: of the latest one, or what was told to subscribers
	offsets   []uint64 // -sparse: of the latest publications, as pushes; 0: not known yet
	pushes    [][]byte // of the latest publications, as long as they are on their way: what brought each; empty: not known yet
	recovered []byte   // what brought those that were missed
}

// newHub prepares the clients and their tokens.
func newHub(l *load) (*hub, error) {
	groups := min(l.o.topics, len(l.conns))
	h := &hub{
		fanOut: newFanOut(l, groups), opcode: protocol.OpText, encoder: centrifugal.NewJSONCommandEncoder(),
		clients: make([]client, len(l.conns)), channels: make([]channel, groups),
		returned: func(int) error { return errors.New("it was not away") },
	}
	if l.o.protobuf {
		h.opcode, h.encoder = protocol.OpBinary, centrifugal.NewProtobufCommandEncoder()
	}
	for i := range h.channels {
		h.channels[i] = channel{name: fmt.Sprintf("c%02d", i), pushes: make([][]byte, 2*l.o.inFlight), offsets: make([]uint64, 2*l.o.inFlight)}
	}
	expires := jwt.NewNumericDate(l.began.Add(time.Hour))
	for i := range h.clients {
		claims := jwt.RegisteredClaims{Subject: user(i), ExpiresAt: expires}
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(l.o.secret))
		if err != nil {
			return nil, err
		}
		h.clients[i].token = token
	}
	for i := range l.conns { // a channel's members are everywhere, and so are the publishers
		l.conns[i].node = uint8((i/groups + i%groups) % len(l.to))
	}
	h.enqueue = h.publication
	h.push = h.write
	l.connect = func() error { return h.join(0, 128) }
	l.onOpen = func(i int) error {
		l.conns[i].got = h.clients[i].got
		return h.command(i, &centrifugal.Command{Connect: &centrifugal.ConnectRequest{Token: h.clients[i].token, Name: "load"}})
	}
	l.onRead = h.received
	return h, nil
}

func user(i int) string { return fmt.Sprintf("user%05d", i) }

// owing is how much is owed: publications, and answers to them.
func (h *hub) owing() uint64 { return h.flying + h.answers }

// join opens the connections from first on, so many at a time, and returns when all of them are
// subscribed.
func (h *hub) join(first, atOnce int) error {
	h.joined = first
	if err := h.openFrom(first, atOnce); err != nil {
		return err
	}
	for had, progress := h.joined, h.now(); h.joined < len(h.conns); {
		if err := h.load.turn(); err != nil {
			return err
		}
		if now := h.now(); h.joined > had {
			had, progress = h.joined, now
		} else if now-progress > int64(h.o.stall) {
			return fmt.Errorf("%d of %d clients are subscribed, and none more for %v", h.joined, len(h.conns), h.o.stall)
		}
	}
	if len(h.to) > 1 { // without JetStream, nobody says when all nodes know who follows what
		return h.rest(min(h.o.rest, 3*time.Second))
	}
	return nil
}

// command sends a command with the next number.
func (h *hub) command(i int, cmd *centrifugal.Command) error {
	if err := h.append(i, cmd); err != nil {
		return err
	}
	return h.write(i)
}

// append has a command with the next number wait.
func (h *hub) append(i int, cmd *centrifugal.Command) error {
	c := &h.clients[i]
	c.last++
	cmd.Id = c.last
	b, err := h.encoder.Encode(cmd)
	if err != nil {
		return err
	}
	c.out = appendMasked(c.out, h.opcode, b, 0, int(c.last))
	return nil
}

// write writes what waits. So little is on its way that the socket takes it.
func (h *hub) write(i int) error {
	c := &h.clients[i]
	if len(c.out) == 0 {
		return nil
	}
	n, errno := write(h.conns[i].fd, c.out)
	if errno != 0 || n < len(c.out) {
		return fmt.Errorf("connection %d: the socket took %d of %d bytes of commands: %w", i, n, len(c.out), errno)
	}
	h.bytesOut += uint64(n)
	c.out = c.out[:0]
	return nil
}

// publication has the next message of a group wait.
func (h *hub) publication(group int) error {
	g := &h.groups[group]
	ch := &h.channels[group]
	slot := g.published % uint64(len(ch.pushes))
	ch.pushes[slot], ch.offsets[slot] = ch.pushes[slot][:0], 0
	err := h.append(g.publisher, &centrifugal.Command{Publish: &centrifugal.PublishRequest{
		Channel: ch.name, Data: h.payloads[g.published%variants],
	}})
	c := &h.clients[g.publisher]
	c.owed = append(c.owed, c.last)
	h.answers++
	return err
}

// framesMax is how much of a frame may wait for the rest of it, in bytes.
const framesMax = 1 << 20

// received takes what was read from connection i.
func (h *hub) received(i int, b []byte) error {
	c := &h.conns[i]
	if len(c.acc) > 0 {
		c.acc = append(c.acc, b...)
		b = c.acc
	}
	h.news = 0
	for len(b) > 0 {
		if n := h.control(i, b); n > 0 {
			b = b[n:]
			continue
		}
		head, n, err := protocol.ParseHeader(b)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if n == 0 || int64(len(b)-n) < head.Length {
			break
		}
		end := n + int(head.Length)
		if err = h.frame(i, head, b[n:end]); err != nil {
			return fmt.Errorf("connection %d, after %d publications: %w", i, c.got, err)
		}
		b = b[end:]
	}
	if len(b) > framesMax {
		return fmt.Errorf("connection %d: a frame of more than %d bytes", i, framesMax)
	}
	c.acc = append(c.acc[:0], b...)
	c.off = len(b) // so that a piece at the end of all is noticed
	if h.news == 0 {
		return nil
	}
	h.counted += uint64(h.news)
	h.compared += uint64(h.news)
	return h.delivered(i, h.news)
}

// frame takes a frame, which may have several replies.
func (h *hub) frame(i int, head protocol.Header, b []byte) error {
	if head.Opcode == protocol.OpClose {
		return fmt.Errorf("the server closed: %q", b)
	}
	if !head.Fin || head.Rsv != 0 || head.Masked || head.Opcode != h.opcode {
		return fmt.Errorf("the frame is %+v, want a whole one with opcode %d, unmasked, not compressed", head, h.opcode)
	}
	for more := true; more; {
		var one []byte
		if h.o.protobuf {
			n, size := binary.Uvarint(b)
			if size <= 0 || n > uint64(len(b)-size) {
				return fmt.Errorf("no replies: %.60q", b)
			}
			one, b = b[size:size+int(n)], b[size+int(n):]
			more = len(b) > 0
		} else {
			one, b, more = bytes.Cut(b, []byte{'\n'})
			if more && len(b) == 0 {
				return fmt.Errorf("no reply after a newline: %.60q", one)
			}
		}
		if err := h.reply(i, one); err != nil {
			return fmt.Errorf("%w: %.300q", err, one)
		}
	}
	return nil
}

// reply takes one reply.
func (h *hub) reply(i int, b []byte) error {
	c := &h.clients[i]
	if len(b) == 0 || string(b) == "{}" {
		return h.ping(i)
	}
	if c.stage == follows {
		got := h.conns[i].got
		ch := &h.channels[h.conns[i].group]
		known := ch.pushes[got%uint64(len(ch.pushes))]
		if got < h.groups[h.conns[i].group].published && len(known) > 0 && bytes.Equal(b, known) {
			h.conns[i].got++
			h.news++
			return nil
		}
	}
	r, err := h.decode(b)
	switch {
	case err != nil:
		return err
	case r.Error != nil:
		return fmt.Errorf("error %d, %s", r.Error.Code, r.Error.Message)
	case h.answered != nil && c.stage != connects && r.Push == nil && r.Publish == nil && r.Id == c.last:
		return h.answered(i, r)
	case h.told != nil && r.Push != nil && r.Push.Pub != nil && r.Id == 0:
		return h.told(i, r.Push)
	case r.Push != nil && r.Push.Pub != nil && r.Id == 0:
		return h.pushed(i, r.Push, b)
	case r.Push == nil && r.Connect != nil && c.stage == connects && r.Id == c.last:
		return h.connected(i, r.Connect)
	case r.Push == nil && r.Subscribe != nil && c.stage == subscribes && r.Id == c.last:
		return h.subscribed(i, r.Subscribe, b)
	case r.Push == nil && r.Publish != nil:
		at := slices.Index(c.owed, r.Id)
		if at < 0 {
			return errors.New("an answer to what was not published, or that was answered")
		}
		c.owed = slices.Delete(c.owed, at, at+1)
		h.answers--
		return nil
	}
	return errors.New("nobody asked for it")
}

// decode decodes one reply. Its strings may lie in b.
func (h *hub) decode(b []byte) (*centrifugal.Reply, error) {
	if !h.o.protobuf {
		return centrifugal.NewJSONReplyDecoder(b).Decode()
	}
	r := &centrifugal.Reply{}
	return r, r.UnmarshalCF(b)
}

// ping answers a ping of the hub, which is an empty reply.
func (h *hub) ping(i int) error {
	c := &h.clients[i]
	switch {
	case c.stage == connects:
		return errors.New("a ping before the answer to connect")
	case !c.pong:
		return nil
	case h.o.protobuf:
		c.out = appendMasked(c.out, h.opcode, []byte{0}, 0, i)
	default:
		c.out = appendMasked(c.out, h.opcode, []byte("{}"), 0, i)
	}
	return h.write(i)
}

// connected takes the answer to connect, and subscribes.
func (h *hub) connected(i int, r *centrifugal.ConnectResult) error {
	c := &h.clients[i]
	if r.Client == "" || r.Ping == 0 || !r.Pong {
		return errors.New("want a client, and pings that are to be answered")
	}
	c.stage, c.id, c.pong = subscribes, string(append([]byte(nil), r.Client...)), r.Pong
	if h.alone || h.apart && i == h.groups[h.conns[i].group].publisher {
		h.joined++
		return nil
	}
	ch := &h.channels[h.conns[i].group]
	q := &centrifugal.SubscribeRequest{Channel: ch.name, Recoverable: h.o.history, Positioned: h.o.history}
	if c.away {
		q.Recover, q.Epoch, q.Offset = true, ch.epoch, ch.first+h.conns[i].got-1
	}
	return h.command(i, &centrifugal.Command{Subscribe: q})
}

// subscribed takes the answer to subscribe.
func (h *hub) subscribed(i int, r *centrifugal.SubscribeResult, b []byte) error {
	c := &h.conns[i]
	g, ch := &h.groups[c.group], &h.channels[c.group]
	h.clients[i].stage = follows
	h.joined++
	if h.clients[i].away {
		return h.recovered(i, r, b)
	}
	if r.Recoverable != h.o.history || (r.Epoch != "") != h.o.history || len(r.Publications) > 0 || r.Recovered || r.WasRecovering {
		return fmt.Errorf("the answer to subscribe; a history is wanted: %v", h.o.history)
	}
	if ch.epoch == "" {
		ch.epoch = string(append([]byte(nil), r.Epoch...))
		if h.o.history {
			ch.first, ch.last = r.Offset+1, r.Offset
		}
	}
	if h.o.sparse {
		ch.last = max(ch.last, r.Offset)
	}
	if r.Epoch != ch.epoch || h.o.history && !h.o.sparse && r.Offset != ch.first-1 || g.published > 0 {
		return fmt.Errorf("it is not at offset %d of epoch %q", ch.first-1, ch.epoch)
	}
	return nil
}
