package nats

import (
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/internal/logs"
)

// Config says where NATS is and what it keeps. New refuses a value outside its range with an error that names the field. Zero means the
// default. Nodes that work together must have the same Prefix, Shards, Streams and NoHistory.
type Config struct {
	// URL is that of a NATS server, or of several with commas between them. Server is one in this process, for example an
	// embedded.Server. Exactly one of both must be set.
	URL    string
	Server natsgo.InProcessConnProvider

	// Options are for credentials and TLS. What this package needs itself (handlers, reconnects, buffers, pings) overrides them.
	Options []natsgo.Option

	// Node is the name of this node: 1 to 64 of the characters A-Z, a-z, 0-9, "_" and "-". No other node may have it.
	Node string

	// Prefix is the first token of all subjects, and the beginning of the names of all streams: 1 to 32 characters
	// as in Node. The default is "sockmill". Systems with different prefixes do not know of each other.
	Prefix string

	// Shards is into how many parts the channels are divided. A node has a NATS subscription for each shard in which it follows a
	// channel, and gets whatever is published to the shard. 1 to 65,536; the default is 4,096.
	Shards int

	// NoHistory is for a NATS without JetStream: the methods of broker.History fail then.
	NoHistory bool

	// Streams is over how many streams the histories are spread: 1 to 64; the default is 1. Replicas is on how many servers each
	// publication is kept: 1, 3 or 5; the default is 1.
	Streams  int
	Replicas int

	// What each stream keeps. Above, the oldest goes.
	Publications int           // of each channel: 1 to 1,000,000; the default is 1,000
	Lifetime     time.Duration // of each publication: at least a minute; the default is 24 hours
	BytesMax     int64         // of a stream: at least 1 MiB; the default is 1 GiB
	InMemory     bool          // in the memory of the servers, not on their disks

	// PublishTimeout is how long a call waits for NATS if its context does not end sooner: 10 ms to a minute; the default is 2 s.
	PublishTimeout time.Duration

	// Grace is how long at least, and twice that at most, this node still gets what is published to a shard
	// after it has left the last channel there: 10 ms to an hour; the default is 5 s.
	Grace time.Duration

	// NodeLifetime is after what time without a sign of life a node is no longer known, and with it who was connected
	// to it: 100 ms to an hour; the default is 10 s.
	NodeLifetime time.Duration

	// AskTimeout is how long the answers of other nodes are waited for: 10 ms to a minute; the default is 1 s.
	AskTimeout time.Duration

	// CompareEvery is how often the positions of the channels that are followed here are compared with the streams: 10 ms to an hour; the
	// default is 10 s. It bounds how long it stays unnoticed that the last publication of a channel was lost on its way.
	CompareEvery time.Duration

	// PresenceBytesMax bounds what is kept of the clients of this node that are present: at least 4 KiB; the default is 64 MiB.
	PresenceBytesMax int

	// Logger; nil: warnings and errors go to standard error. zap.NewNop() is silent.
	Logger *zap.Logger

	clock func() time.Time // for the lifetimes of Presence; nil: time.Now

	drop func(m *natsgo.Msg) bool // for tests: a message that is lost on its way to this node
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// row is a number of Config with its default and its range.
type row struct {
	name          string
	field         any
	def, min, max int64
}

const unbounded = 1<<63 - 1

// settle checks what is there and fills in the defaults.
func (c *Config) settle() error {
	if (c.URL == "") == (c.Server == nil) {
		return errors.New("nats: exactly one of Config.URL and Config.Server must be set")
	}
	for s := range strings.SplitSeq(c.URL, ",") {
		if _, err := parseURL(s); err != nil {
			return fmt.Errorf("nats: Config.URL is not a URL: %w", err)
		}
	}
	if c.Prefix == "" {
		c.Prefix = "sockmill"
	}
	if err := checkName("Node", c.Node, 64); err != nil {
		return err
	}
	if err := checkName("Prefix", c.Prefix, 32); err != nil {
		return err
	}
	c.Logger = logs.Bounded(c.Logger)
	const ms, s, m, h = int64(time.Millisecond), int64(time.Second), int64(time.Minute), int64(time.Hour)
	for _, r := range []row{
		{"Shards", &c.Shards, 4096, 1, 65_536},
		{"Streams", &c.Streams, 1, 1, 64},
		{"Replicas", &c.Replicas, 1, 1, 5},
		{"Publications", &c.Publications, 1000, 1, 1_000_000},
		{"Lifetime", &c.Lifetime, 24 * h, m, unbounded},
		{"BytesMax", &c.BytesMax, 1024 * mib, mib, unbounded},
		{"PublishTimeout", &c.PublishTimeout, 2 * s, 10 * ms, m},
		{"Grace", &c.Grace, 5 * s, 10 * ms, h},
		{"NodeLifetime", &c.NodeLifetime, 10 * s, 100 * ms, h},
		{"AskTimeout", &c.AskTimeout, s, 10 * ms, m},
		{"CompareEvery", &c.CompareEvery, 10 * s, 10 * ms, h},
		{"PresenceBytesMax", &c.PresenceBytesMax, 64 * mib, 4 * kib, unbounded},
	} {
		if err := r.settle(); err != nil {
			return err
		}
	}
	if c.Replicas%2 == 0 {
		return fmt.Errorf("nats: Config.Replicas is %d: it must be 1, 3 or 5", c.Replicas)
	}
	return nil
}

func (r row) settle() error {
	var err error
	switch p := r.field.(type) {
	case *int:
		*p, err = within(r, *p)
	case *int64:
		*p, err = within(r, *p)
	case *time.Duration:
		*p, err = within(r, *p)
	}
	return err
}

func within[T int | int64 | time.Duration](r row, v T) (T, error) {
	switch {
	case v == 0:
		return T(r.def), nil
	case int64(v) >= r.min && int64(v) <= r.max:
		return v, nil
	case r.max == unbounded:
		return v, fmt.Errorf("nats: Config.%s is %v: it must be at least %v, or 0 for the default", r.name, v, T(r.min))
	}
	return v, fmt.Errorf("nats: Config.%s is %v: it must be from %v to %v, or 0 for the default", r.name, v, T(r.min), T(r.max))
}

// checkName fails unless name can be a part of a subject and of the name of a stream.
func checkName(field, name string, most int) error {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	if len(name) < 1 || len(name) > most || strings.Trim(name, allowed) != "" {
		return fmt.Errorf("nats: Config.%s is %.80q: it must be 1 to %d of the characters A-Z, a-z, 0-9, _ and -", field, name, most)
	}
	return nil
}
