package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// simulation is a source of connections that do not exist: they all do something all the time.
type simulation struct {
	began time.Time

	mu   sync.Mutex
	rows []Connection // by ID, from 1 on; of those that have ended, ID is 0
}

const (
	simulatedLoops = 4
	hostile        = "<img src=x onerror=\"globalThis.harmed=1\">\u202e"
)

var simulatedListeners = []string{"ws://127.0.0.1:8090", "wss://0.0.0.0:8443"}

func newSimulation(n int) *simulation {
	c := &simulation{began: time.Now().Add(-76 * time.Hour), rows: make([]Connection, n)}
	for i := range c.rows {
		row := Connection{
			ID: uint64(i + 1), Loop: i % simulatedLoops, Listener: simulatedListeners[min(i%3, 1)], Origin: "accepted", Phase: "open", Protocol: "websocket",
			TLS: i%3 > 0, AgeMs: int64(n-i) * 997, BytesIn: uint64(i) * 7919 % 99_999_999, BytesOut: uint64(i) * 104_729 % 999_999_999,
			MessagesIn: uint64(i) * 31 % 99_999, MessagesOut: uint64(i) * 17 % 99_999, RateLimited: uint64(i % 50), Paused: []string{}, Topics: i % 9,
		}
		switch {
		case i%97 == 3:
			row.Phase = "closing"
		case i%23 == 4:
			row.Paused, row.Queued = []string{"backlog"}, i*13%900_000
		case i%31 == 5:
			row.Paused = []string{"operator", "offload"}
		}
		if i%2 == 1 {
			row.Compression = "permessage-deflate; takeover"
		}
		c.rows[i] = row
	}
	return c
}

func (c *simulation) complete(row *Connection) {
	i := row.ID
	row.Client = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	row.Remote = fmt.Sprintf("%s:%d", row.Client, 20_000+i%30_000)
	switch {
	case i%5 == 1:
		row.Client = fmt.Sprintf("2001:db8:17:4711:8a2e:370:7334:%x", i%65_536)
		row.Remote = fmt.Sprintf("[%s]:51234", row.Client)
	case i%7 == 2:
		row.Client = fmt.Sprintf("203.0.113.%d", i%250) // a proxy named it
	}
	row.User = []string{"ada", "bob", hostile, "", "carol-with-a-name-that-is-much-longer-than-its-place-allows"}[i%5]
	row.Handler = []string{"main.(*game).onMessage", "github.com/sockmill/sockmill/hub/centrifugal.(*Server).onMessage", "main.echo"}[i%3]
}

func (c *simulation) survey(_ context.Context, texts bool, visit func([]Connection)) ([]int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for some := range slices.Chunk(c.rows, 256) {
		some = slices.DeleteFunc(slices.Clone(some), func(row Connection) bool { return row.ID == 0 })
		for i := range some {
			if texts {
				c.complete(&some[i])
			}
		}
		visit(some)
	}
	return nil, nil
}

// on calls do for a connection.
func (c *simulation) on(id uint64, do func(row *Connection)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id == 0 || id > uint64(len(c.rows)) || c.rows[id-1].ID == 0 {
		return errGone
	}
	do(&c.rows[id-1])
	return nil
}

func (c *simulation) connection(_ context.Context, id uint64) (*ConnectionDetail, error) {
	to := &ConnectionDetail{Local: "10.0.0.3:8443", TLSVersion: "TLS 1.3", TLSCipher: "TLS_AES_128_GCM_SHA256", State: "*main.player",
		TopicNames: []string{"room:1", hostile}, Channels: []string{"news"}, HubClient: "5f1c"}
	err := c.on(id, func(row *Connection) { to.Connection = *row })
	c.complete(&to.Connection)
	return to, err
}

func (c *simulation) pause(id uint64) error {
	return c.on(id, func(row *Connection) { row.Paused = []string{"operator"} })
}

func (c *simulation) resume(id uint64) error {
	return c.on(id, func(row *Connection) { row.Paused = []string{} })
}

func (c *simulation) end(id uint64, _ CloseRequest) error {
	return c.on(id, func(row *Connection) { row.ID = 0 })
}

func (c *simulation) status(to *Status) {
	s := time.Since(c.began).Seconds()
	n := len(c.rows)
	to.Engine = Totals{
		Connections: n + 120, Most: 200_000, Open: n, Accepted: uint64(s * 38), Closed: uint64(s * 36), Refused: 312, LoopHeld: 7, MessagesIn: uint64(s * 41_234),
		MessagesOut: uint64(s * 120_345), BytesIn: uint64(s * 4.1e6), BytesOut: uint64(s * 33e6), Dropped: 1234, Replaced: 99, Discarded: 88, RateLimited: 17,
		TakeoverBytes: 64e6, BufferBytes: 210e6, BufferMax: 2 << 30, Backpressure: 130, QueuedBytes: 64e6, GoRunning: 3,
	}
	for i := range simulatedLoops {
		to.Loops = append(to.Loops, Loop{Index: i, Connections: n / simulatedLoops, Turns: uint64(s * float64(900+400*i)), Load: 0.12 + 0.22*float64(i), TurnMs: 0.13 + 0.11*float64(i)})
	}
	held := &to.Loops[simulatedLoops-1]
	held.Held, held.InTurn, held.HeldMs, held.Callback, held.Conn, held.Posts, held.InboxBytes = 7, true, 340, "OnMessage", 7, 14, 52_000
	for i, name := range simulatedListeners {
		to.Listeners = append(to.Listeners, Listener{Name: name, Connections: n * (i + 1) / 3, HalfOpen: 31 * i, Accepted: uint64(s * 19), Refused: uint64(312 * i), TLSFailed: uint64(44 * i)})
	}
	to.Listeners[1].CertificateExpires = time.Now().Add(9 * 24 * time.Hour).UTC().Format(time.RFC3339)
	to.Hub = &Hub{Clients: n, Users: n / 2, Channels: 230, Subscriptions: 3 * n}
}

// simulatedNames are the channels or users behind after that begin so.
func simulatedNames(kind, begin string, page hub.Page) (*Names, error) {
	to := &Names{Items: []Name{}, Missing: []string{}}
	for i := range 230 {
		name := fmt.Sprintf("%s:%04d", kind, i)
		if i == 3 {
			name += hostile
		}
		if name <= page.After || !strings.HasPrefix(name, begin) {
			continue
		}
		if to.More = len(to.Items) == page.Limit; to.More {
			break
		}
		to.Items = append(to.Items, Name{Name: name, Clients: i * 37 % 400})
	}
	return to, nil
}

func (c *simulation) channels(_ context.Context, pattern string, page hub.Page) (*Names, error) {
	return simulatedNames("room", strings.TrimSuffix(pattern, "*"), page)
}

func (c *simulation) users(_ context.Context, page hub.Page) (*Names, error) {
	return simulatedNames("user", "", page)
}

func (c *simulation) settings() Settings {
	return Settings{
		Engine: []Setting{
			{Name: "Loops", Value: "4"}, {Name: "ConnectionsMax", Value: "200000"}, {Name: "MessageBytesMax", Value: "65536"}, {Name: "PingInterval", Value: "25s"},
			{Name: "Origins", Value: "https://app.example.com, https://a-very-long-name.of-another.example.com"}, {Name: "CheckOrigin", Value: "a function", Hidden: true},
			{Name: "WriteStallTimeout", Value: "30s"}, {Name: "IdleTimeout", Value: "no limit"},
		},
		Listeners: []ListenerSetting{{Name: simulatedListeners[0], Settings: []Setting{}}, {Name: simulatedListeners[1], Settings: []Setting{{Name: "TLS", Value: "set", Hidden: true}}}},
	}
}

// simulatedTap shows frames that never were, ten a second.
type simulatedTap struct{ payloadBytes, n int }

func (c *simulation) tap(_ context.Context, id uint64, payloadBytes int) (tap, error) {
	return &simulatedTap{payloadBytes: payloadBytes}, c.on(id, func(*Connection) {})
}

func (t *simulatedTap) Read(ctx context.Context) ([]engine.TappedFrame, uint64, error) {
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(100 * time.Millisecond):
	}
	t.n++
	f := engine.TappedFrame{At: time.Now(), In: t.n%2 == 1, Framed: true, Opcode: protocol.OpText, Fin: true, Masked: t.n%2 == 1}
	text := []byte(`{"say":"` + hostile + `"}`)
	switch t.n % 9 {
	case 4:
		f.Opcode, text = protocol.OpBinary, []byte{0, 1, 2, 0xff}
	case 7:
		f.Opcode, text = protocol.OpPing, nil
	}
	f.Length, f.Payload = int64(len(text)), text[:min(len(text), t.payloadBytes)]
	return []engine.TappedFrame{f}, 0, nil
}

func (t *simulatedTap) Close() {}
