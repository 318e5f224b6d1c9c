package engine

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// NoLimit in place of a number or a duration of Config means that there is no
// bound. Zero means the default.
const NoLimit = limit.NoLimit

// Config says where an Engine listens and within which bounds it works. It is
// read by New and may be reused afterwards. The defaults and ranges of the
// limits are in docs/LIMITS.md; New refuses a value outside its range with an
// error that names the field.
type Config struct {
	// Addr is a URL whose scheme picks the protocol: ws://host:port and
	// ws+unix:///path for WebSocket, tcp://host:port and unix:///path for bytes
	// as they come, udp://host:port for packets: see Handler.OnPacket. The mode of a socket file is set by ?mode=0660 behind the path,
	// before anybody can connect; else the umask decides. A file that a crashed
	// server left is replaced. An empty host is every address of the machine, port 0 a
	// free port. With neither Addr nor Listener the engine serves only what
	// ServeHTTP hands to it, and dials: see Engine.Dial.
	Addr string

	// Listener is used in place of Addr, and closed by Shutdown. It must
	// accept *net.TCPConn or *net.UnixConn.
	Listener net.Listener

	// Codec makes the codec of each new connection, in place of that of the scheme of
	// Addr. It is called on any goroutine.
	Codec func() codec.Codec

	// Schemes are protocols of the program's own, by the name of the scheme that
	// stands for them in Addr: with "chat" come chat://host:port and
	// chat+unix:///path. A name is of small letters, digits, - and the dot. They hold for
	// every listener of the engine.
	Schemes map[string]func() codec.Codec

	// TLS is for an Addr whose scheme says so (wss, https, tls, or +tls behind another
	// one), and for a Listener. It is used as it is, but for what is not set: TLS 1.2 is the
	// lowest version, and ALPN (RFC 7301) is http/1.1, with HTTP also h2: such a
	// connection belongs to the http.Server. It is copied: ticket keys that are set
	// later have no effect, and a Config that GetConfigForClient returns is used alone.
	// See docs/TLS.md.
	TLS *tls.Config

	// CertFile and KeyFile are the certificate and the key of TLS, in PEM. When the
	// files change, the new pair is served to those who come then; a pair that is broken
	// is logged, and the one before is still served.
	CertFile, KeyFile string

	// HTTP serves the requests on the same port that are no WebSocket
	// handshake, on a real http.Server. Nil: they are answered with 426.
	HTTP http.Handler

	// Logger gets what an operator should know: panics of callbacks, failures
	// of OnUpgrade, refused origins, callbacks that hold up a loop. Nil: nothing is
	// logged.
	Logger *zap.Logger

	// Loops is the number of event loops, at most 256; 0 is GOMAXPROCS.
	Loops int

	// Origins are the allowed values of the Origin field (RFC 6455 §10.2), as
	// patterns: "https://example.com", "https://*.example.com",
	// "http://localhost:*", "*". "null" and "file://" allow the pages that send
	// these: files, sandboxed frames, web views (Electron, Cordova); any site can
	// make a frame that sends "null". Nil allows the same origin only: host and port
	// of Origin equal Host. A list replaces that rule: name your own origin too. A request without Origin, which no browser sends,
	// is allowed.
	Origins []string

	// CheckOrigin decides in place of Origins; New refuses both. It runs on a loop.
	CheckOrigin func(r *protocol.Request) bool

	// TrustedProxies are addresses or prefixes ("10.0.0.0/8") of proxies whose
	// word on the client's address is believed: a PROXY header (v1 or v2)
	// before the first byte, Forwarded or X-Forwarded-For in the handshake. An
	// IPv4 address may be written as one in IPv6 (::ffff:10.0.0.1). "unix" is
	// whoever connects to a unix socket. List only proxies that set or remove these
	// themselves.
	TrustedProxies []string

	// Limits for each client address (see TrustedProxies). They do not hold for
	// loopback addresses and for the trusted proxies themselves. All clients that a
	// proxy does not name, as with "Forwarded: for=unknown", count as one.
	ConnectionsPerAddressMax   int // open at once; above: 429
	AcceptsPerAddressPerSecond int // new ones; above: 429

	HalfOpenMax int // connections whose handshake is under way; above: 503

	HandshakeTimeout  time.Duration // from the connection to the answer: 408 if the request head has not come then, 503 if a function of Upgrade.Go has not decided
	HandshakeBytesMax int           // of a request head; above: 431
	HeaderFieldsMax   int           // of a request head; above: 431

	MessageBytesMax int // of a received message, all fragments together; above: 1009
	FragmentsMax    int // frames of one received message; above: 1009
	PacketBytesMax  int // of a received UDP packet; above, it is dropped, and counted in ListenerStats

	// What a peer may send in a second; above, it is not read until the second
	// is over.
	ControlFramesPerSecond, MessagesPerSecond, BytesPerSecond int

	// NotSentBytesMax bounds what the kernel takes of a connection beyond what
	// is on its way to the peer (TCP_NOTSENT_LOWAT): a Policy can no longer drop or
	// replace what the kernel has taken. With NoLimit the kernel takes megabytes.
	NotSentBytesMax int

	// If only one of these is set, the defaults of the others are changed to fit it.
	SendBytesHigh int // queued for a connection: above, its reading pauses
	SendBytesLow  int // queued for a connection: below, its reading resumes
	SendBytesMax  int // queued for a connection: above, Policy says what becomes of a Send

	// Policy is for messages that name none of their own; 0 is Close.
	Policy Policy

	// Deflate says whether messages are compressed; 0 is DeflateOff. See
	// docs/DEFLATE.md for what it costs and saves.
	Deflate DeflateMode

	DeflateLevel          int // 1 (fastest) to 9 (smallest)
	DeflateThresholdBytes int // shorter messages are sent as they are; NoLimit: all are
	DeflateWindowBits     int // of context takeover: 1<<DeflateWindowBits bytes are kept for each direction
	DeflateTakeoverBytes  int // granted for context takeover; a connection for which none is left does without

	WriteStallTimeout time.Duration // without progress of a backlog; then the connection is cut

	PingInterval      time.Duration // of silence, after which the peer is pinged at the latest, and again at that period while it is silent; NoLimit: never
	PongTimeout       time.Duration // of silence after the first of these pings; then the connection is cut
	KeepAliveInterval time.Duration // of silence, after which the kernel probes the peer of a tcp:// connection; NoLimit: never
	IdleTimeout       time.Duration // without a message in either direction; then the connection is closed with 1001
	CloseTimeout      time.Duration // for the peer's answer to a close frame, from when it took the last byte; then the connection is cut
	DrainTimeout      time.Duration // for all of a shutdown that Run began; then what is left is cut

	// DiscardTimeout is how long a peer that goes on sending has to read why its
	// connection is closed, or its handshake refused. What it sends meanwhile is
	// discarded. Then the connection is cut.
	DiscardTimeout time.Duration

	TopicsPerConnectionMax int // subscriptions of a connection; above: ErrTopics

	DialsMax int // attempts of Engine.Dial that make a TCP connection at once, each on a goroutine; the others wait

	UpgradesMax int // functions of Upgrade.Go that run at once, all connections together; the others wait, and HandshakeTimeout runs

	OffloadMax int // functions of Conn.Go that run at once, all connections together

	CallbackWarnAfter time.Duration // that a callback, or a turn of many, holds its loop: then it is logged; NoLimit: never

	HTTPHeaderTimeout time.Duration // for the head of a plain HTTP request
	HTTPIdleTimeout   time.Duration // between plain HTTP requests on one connection

	// HTTPStallTimeout bounds how long plain HTTP waits without progress: for a
	// body that a handler reads, and for the peer to read the answer; then the
	// handler's Read or Write fails. During a shutdown, CloseTimeout does so if it
	// is shorter. A handler that waits for something else is not bounded, and a
	// deadline that it sets by http.ResponseController holds in place of this.
	HTTPStallTimeout time.Duration

	// LifetimeMax bounds the life of a connection, so that clients spread over
	// new servers: it is closed with 1001 after 90 to 100 percent of it.
	LifetimeMax time.Duration

	// BufferBytesMax bounds all buffers together. While it is spent, newcomers
	// get 503, and the connections that hold most are closed with 1013.
	BufferBytesMax int

	// TLSHandshakesMax bounds the TLS handshakes that run at once, each on a goroutine.
	// Those who wait are half open; see HalfOpenMax and HandshakeTimeout.
	TLSHandshakesMax int

	// ConnectionsMax bounds the open connections, plain HTTP included; above:
	// 503. The default is what the descriptor limit of the process leaves
	// after a reserve.
	ConnectionsMax int
}

// sampled bounds what peers can make the engine log: of each message 100 in a
// second, then every thousandth.
func sampled(log *zap.Logger) *zap.Logger {
	if log == nil {
		log = zap.NewNop()
	}
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, 100, 1000)
	}))
}

// bound is a row of the table of bounds, and its field.
type bound struct {
	limit.Row
	field func(*Config) any
}

func row(name string, field func(*Config) any, def, least, most, withoutLimit int64) bound {
	return bound{limit.Row{Name: name, Default: def, Min: least, Max: most, WithoutLimit: withoutLimit}, field}
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	ms  = int64(time.Millisecond)
	sec = int64(time.Second)
	day = int64(24 * time.Hour)
)

// limits is the one place where bounds have their defaults and ranges.
var limits = []bound{
	row("Loops", func(c *Config) any { return &c.Loops }, 0, 1, loop.LoopsMax, 0),
	row("HandshakeTimeout", func(c *Config) any { return &c.HandshakeTimeout }, 10*sec, ms, day, limit.Never),
	row("HandshakeBytesMax", func(c *Config) any { return &c.HandshakeBytesMax }, 16*kib, 256, 16*mib, limit.Unbounded),
	row("HeaderFieldsMax", func(c *Config) any { return &c.HeaderFieldsMax }, 100, 8, 100_000, limit.Unbounded),
	row("HalfOpenMax", func(c *Config) any { return &c.HalfOpenMax }, 8192, 1, limit.Unbounded, limit.Unbounded),
	row("ConnectionsPerAddressMax", func(c *Config) any { return &c.ConnectionsPerAddressMax }, 1024, 1, limit.Unbounded, limit.Unbounded),
	row("AcceptsPerAddressPerSecond", func(c *Config) any { return &c.AcceptsPerAddressPerSecond }, 256, 1, limit.Unbounded, limit.Unbounded),
	row("ControlFramesPerSecond", func(c *Config) any { return &c.ControlFramesPerSecond }, 1000, 1, limit.Unbounded, limit.Unbounded),
	row("MessagesPerSecond", func(c *Config) any { return &c.MessagesPerSecond }, limit.Unbounded, 1, limit.Unbounded, limit.Unbounded),
	row("BytesPerSecond", func(c *Config) any { return &c.BytesPerSecond }, limit.Unbounded, 1024, limit.Unbounded, limit.Unbounded),
	row("LifetimeMax", func(c *Config) any { return &c.LifetimeMax }, limit.Never, 10*ms, 365*day, limit.Never),
	row("BufferBytesMax", func(c *Config) any { return &c.BufferBytesMax }, gib, mib, limit.Unbounded<<20, limit.Unbounded<<20),
	row("MessageBytesMax", func(c *Config) any { return &c.MessageBytesMax }, 16*mib, 1, limit.Unbounded, limit.Unbounded),
	row("FragmentsMax", func(c *Config) any { return &c.FragmentsMax }, 128*kib, 1, limit.Unbounded, limit.Unbounded),
	row("PacketBytesMax", func(c *Config) any { return &c.PacketBytesMax }, 64*kib, 1, 64*kib, 0),
	row("NotSentBytesMax", func(c *Config) any { return &c.NotSentBytesMax }, 64*kib, kib, gib, limit.Unbounded),
	row("SendBytesHigh", func(c *Config) any { return &c.SendBytesHigh }, mib, 1, limit.Unbounded, limit.Unbounded),
	row("SendBytesLow", func(c *Config) any { return &c.SendBytesLow }, 0, 1, limit.Unbounded, 0),
	row("SendBytesMax", func(c *Config) any { return &c.SendBytesMax }, 4*mib, 1, limit.Unbounded, limit.Unbounded),
	row("DeflateLevel", func(c *Config) any { return &c.DeflateLevel }, 3, 1, 9, 0),
	row("DeflateThresholdBytes", func(c *Config) any { return &c.DeflateThresholdBytes }, 256, 1, mib, limit.Unbounded),
	row("DeflateWindowBits", func(c *Config) any { return &c.DeflateWindowBits }, 12, 9, 15, 0),
	row("DeflateTakeoverBytes", func(c *Config) any { return &c.DeflateTakeoverBytes }, 64*mib, kib, limit.Unbounded, limit.Unbounded),
	row("WriteStallTimeout", func(c *Config) any { return &c.WriteStallTimeout }, 30*sec, 10*ms, day, limit.Never),
	row("PingInterval", func(c *Config) any { return &c.PingInterval }, 25*sec, 10*ms, day, limit.Never),
	row("PongTimeout", func(c *Config) any { return &c.PongTimeout }, 20*sec, 10*ms, day, limit.Never),
	row("KeepAliveInterval", func(c *Config) any { return &c.KeepAliveInterval }, 30*sec, sec, 9*3600*sec, limit.Never),
	row("IdleTimeout", func(c *Config) any { return &c.IdleTimeout }, limit.Never, 10*ms, day, limit.Never),
	row("CloseTimeout", func(c *Config) any { return &c.CloseTimeout }, 5*sec, ms, day, limit.Never),
	row("DiscardTimeout", func(c *Config) any { return &c.DiscardTimeout }, 30*sec, ms, day, limit.Never),
	row("DrainTimeout", func(c *Config) any { return &c.DrainTimeout }, 10*sec, ms, day, limit.Never),
	row("TopicsPerConnectionMax", func(c *Config) any { return &c.TopicsPerConnectionMax }, kib, 1, limit.Unbounded, limit.Unbounded),
	row("DialsMax", func(c *Config) any { return &c.DialsMax }, 64, 1, 10_000, 0),
	row("UpgradesMax", func(c *Config) any { return &c.UpgradesMax }, 256, 1, 1_000_000, limit.Unbounded),
	row("OffloadMax", func(c *Config) any { return &c.OffloadMax }, 256, 1, 1_000_000, limit.Unbounded),
	row("CallbackWarnAfter", func(c *Config) any { return &c.CallbackWarnAfter }, 100*ms, ms, day, limit.Never),
	row("HTTPHeaderTimeout", func(c *Config) any { return &c.HTTPHeaderTimeout }, 10*sec, ms, day, limit.Never),
	row("HTTPIdleTimeout", func(c *Config) any { return &c.HTTPIdleTimeout }, 60*sec, ms, day, limit.Never),
	row("HTTPStallTimeout", func(c *Config) any { return &c.HTTPStallTimeout }, 30*sec, 10*ms, day, limit.Never),
	row("TLSHandshakesMax", func(c *Config) any { return &c.TLSHandshakesMax }, 1024, 1, 1_000_000, limit.Unbounded),
	row("ConnectionsMax", func(c *Config) any { return &c.ConnectionsMax }, 0, 1, limit.Unbounded, limit.Unbounded),
}

// scope says for whom a bound holds that is not simply a listener's, with that of
// New as the default.
type scope uint8

const (
	ofEngine scope = iota + 1 // for all listeners together: only New may set it
	ofBoth                    // for the listener, beside that of New
	together                  // if one of them is set, the defaults of the others fit it
)

var scopes = map[string]scope{
	"Loops": ofEngine, "BufferBytesMax": ofEngine, "DrainTimeout": ofEngine, "CallbackWarnAfter": ofEngine,
	"DeflateLevel": ofEngine, "DeflateThresholdBytes": ofEngine, "DeflateWindowBits": ofEngine, "DeflateTakeoverBytes": ofEngine,
	"DialsMax": ofEngine, "UpgradesMax": ofEngine, "OffloadMax": ofEngine,
	"TLSHandshakesMax": ofEngine,
	"ConnectionsMax":   ofBoth, "HalfOpenMax": ofBoth, "ConnectionsPerAddressMax": ofBoth, "AcceptsPerAddressPerSecond": ofBoth,
	"SendBytesHigh": together, "SendBytesLow": together, "SendBytesMax": together,
}

// settle fills in the defaults and checks the ranges. base is the Config of New
// if c is of Engine.Listen, else nil.
func (c *Config) settle(base *Config) error {
	descriptors, err := loop.Descriptors()
	if err != nil {
		return fmt.Errorf("engine: reading the descriptor limit: %w", err)
	}
	ownSendBytes := c.SendBytesHigh != 0 || c.SendBytesLow != 0 || c.SendBytesMax != 0
	for _, l := range limits {
		field := l.field(c)
		switch unset, of := limit.IsZero(field), scopes[l.Name]; {
		case base == nil, of == together && ownSendBytes:
		case of == ofEngine && !unset:
			return ofEngineError(l.Name)
		case of == ofBoth && unset: // no bound of its own
			continue
		case unset:
			limit.Copy(field, l.field(base))
			continue
		}
		l.Default = c.defaultOf(l, descriptors)
		if err := l.Settle("engine", "Config", field); err != nil {
			return err
		}
	}
	return c.check()
}

func ofEngineError(field string) error {
	return fmt.Errorf("engine: Config.%s belongs to the whole engine: set it for New, and leave it out for Engine.Listen", field)
}

// defaultOf is the default of a bound, which may follow from the machine, or from
// what c says elsewhere.
func (c *Config) defaultOf(l bound, descriptors int) int64 {
	switch l.Name {
	case "Loops":
		return int64(min(runtime.GOMAXPROCS(0), loop.LoopsMax))
	case "SendBytesHigh": // it has to fit the other two, as the program set them
		high := l.Default
		if c.SendBytesMax > 0 {
			high = min(high, int64(max(c.SendBytesMax/4, 1)))
		}
		return max(high, int64(min(c.SendBytesLow, limit.Unbounded)))
	case "SendBytesLow":
		return int64(max(c.SendBytesHigh/4, 1))
	case "SendBytesMax":
		if c.SendBytesHigh < limit.Unbounded {
			return min(max(l.Default, 4*int64(c.SendBytesHigh)), limit.Unbounded)
		}
	case "ConnectionsMax":
		return int64(max(descriptors-reserve(descriptors), 1))
	}
	return l.Default
}

// reserve is how many descriptors are left to the rest of the program: to its
// listeners, files and loops, and to connections on their way into a loop,
// which own two for a moment.
func reserve(descriptors int) int { return 128 + descriptors/50 }

// check compares fields that depend on each other.
func (c *Config) check() error {
	if c.SendBytesLow > c.SendBytesHigh {
		return fmt.Errorf("engine: Config.SendBytesLow is %d: it must be at most SendBytesHigh, %d", c.SendBytesLow, c.SendBytesHigh)
	}
	if c.SendBytesMax < c.SendBytesHigh {
		return fmt.Errorf("engine: Config.SendBytesMax is %d: it must be at least SendBytesHigh, %d", c.SendBytesMax, c.SendBytesHigh)
	}
	if c.Policy == 0 {
		c.Policy = PolicyClose
	}
	if c.Policy > PolicyReplace {
		return fmt.Errorf("engine: Config.Policy is %d: it must be PolicyClose, PolicyDropNewest, PolicyDropOldest, PolicyReplace, or 0 for the default", c.Policy)
	}
	if c.Deflate == 0 {
		c.Deflate = DeflateOff
	}
	if err := c.settleScheme(); err != nil {
		return err
	}
	if err := c.Deflate.check(); err != nil {
		return err
	}
	if c.Addr != "" && c.Listener != nil {
		return fmt.Errorf("engine: Config.Addr and Config.Listener are both set: choose one")
	}
	for _, p := range c.Origins {
		if err := protocol.ValidOriginPattern(p); err != nil {
			return fmt.Errorf("engine: Config.Origins: %w", err)
		}
	}
	if c.CheckOrigin != nil && c.Origins != nil {
		return fmt.Errorf("engine: Config.Origins and Config.CheckOrigin are both set: choose one, CheckOrigin would decide alone")
	}
	return nil
}
