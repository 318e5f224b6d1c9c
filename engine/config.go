package engine

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/limit"
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

	// Sockets, if not nil, is asked for the sockets of each Addr, here and of
	// Engine.Listen: they may come from another process. See Sockets.
	Sockets Sockets

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

	// Logger gets what an operator should know: why connections are refused, panics
	// of callbacks, failures of OnUpgrade, callbacks that hold up a loop. docs/LOGS.md has all
	// lines. How many there are of each in a second is bounded. Nil: warnings and errors
	// go to standard error; zap.NewNop() is silent.
	Logger *zap.Logger

	// Describe tells those who operate the program who a connection is, such as the name
	// of its user: see ConnInfo.Text. It is called when they ask, on the connection's
	// loop, for all connections one after the other: it must be quick. Nil: nobody knows.
	Describe func(c *Conn) string

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

	// SlowCode closes a connection for which too much waits: by PolicyClose, and when
	// BufferBytesMax is spent; 0 is 1013.
	SlowCode protocol.CloseCode

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
	DrainTimeout      time.Duration // for all of a shutdown that Run began, after the stages of Drain; then what is left is cut

	// Drain is how Run stops when its context ends: in stages, before DrainTimeout begins
	// to run. Zero: all at once, as Shutdown does.
	Drain Drain

	// DiscardTimeout is how long a peer that goes on sending has to read why its
	// connection is closed, or its handshake refused. What it sends meanwhile is
	// discarded. Then the connection is cut.
	DiscardTimeout time.Duration

	TopicsPerConnectionMax int // subscriptions of a connection; above: ErrTopics

	DialsMax int // attempts of Engine.Dial that make a TCP connection at once, each on a goroutine; the others wait

	UpgradesMax int // functions of Upgrade.Go that run at once, all connections together; the others wait, and HandshakeTimeout runs

	OffloadMax int // functions of Conn.Go that run at once, all connections together

	CallbackWarnAfter time.Duration // that a callback, or a turn of many, holds its loop: then it is logged; NoLimit: never

	LoopHeldMax time.Duration // that a callback, or a turn of many, holds its loop: above, Engine.Health says that the engine is not live

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
	// get 503, and the connections that hold most are closed with SlowCode.
	BufferBytesMax int

	// TLSHandshakesMax bounds the TLS handshakes that run at once, each on a goroutine.
	// Those who wait are half open; see HalfOpenMax and HandshakeTimeout. A client that
	// stops in its handshake is in the way of others for that time, if this is less
	// than HalfOpenMax.
	TLSHandshakesMax int

	// Timings has the engine measure how long things take: the Histograms of Metrics.
	// Without it, no clock is read for them.
	Timings bool

	// ConnectionsMax bounds the open connections, plain HTTP included; above:
	// 503. The default is what the descriptor limit of the process leaves
	// after a reserve.
	ConnectionsMax int
}

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
	if c.SlowCode == 0 {
		c.SlowCode = protocol.CloseTryAgainLater
	}
	if !c.SlowCode.Valid() {
		return fmt.Errorf("engine: Config.SlowCode is %d: it must be a code that a close frame may have, or 0 for the default", c.SlowCode)
	}
	if c.Deflate == 0 {
		c.Deflate = DeflateOff
	}
	if err := c.Drain.check("Config.Drain"); err != nil {
		return err
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
