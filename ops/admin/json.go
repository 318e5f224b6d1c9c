package admin

import (
	"net/netip"

	"github.com/sockmill/sockmill/engine"
)

// The answers of the JSON API. Names of fields that end in Ms are milliseconds, those that end in Bytes or are called so are bytes;
// counters only rise, so that two answers give a rate. Instants are RFC 3339 in UTC. A list is [] rather than null.

// Status is the answer of GET api/status.
type Status struct {
	Time      string     `json:"time"` // of this answer
	Rights    Rights     `json:"rights"`
	Process   Process    `json:"process"`
	Engine    Totals     `json:"engine"`
	Loops     []Loop     `json:"loops"`
	Listeners []Listener `json:"listeners"`
	Hub       *Hub       `json:"hub"`   // null without one
	Drain     *Drain     `json:"drain"` // null while the engine does not drain
	Health    *Health    `json:"health"`
	Links     Links      `json:"links"`
}

// Rights say what the one who asks may do.
type Rights struct {
	Read   bool `json:"read"`
	Change bool `json:"change"`
}

// Session is the answer of GET api/session: nobody needs a token for it. POST api/session with a Login as its body sets a cookie, for links such as those of profiles, where a browser cannot
// send the field Authorization, and answers a Session too. DELETE api/session takes the cookie back, and answers 204.
type Session struct {
	Rights
	TokenNeeded bool `json:"tokenNeeded"` // false: whoever is on this machine may do everything
}

// Login is the body of POST api/session.
type Login struct {
	Token string `json:"token"`
}

// Process is the process of the engine.
type Process struct {
	PID             int    `json:"pid"`
	Host            string `json:"host"`
	Command         string `json:"command"` // its name, without arguments, which may hold secrets
	GoVersion       string `json:"goVersion"`
	Version         string `json:"version"` // of the program's main module; "" if it is not known
	Started         string `json:"started"` // the engine, by New
	UptimeMs        int64  `json:"uptimeMs"`
	CPUs            int    `json:"cpus"` // GOMAXPROCS
	Goroutines      int    `json:"goroutines"`
	HeapBytes       uint64 `json:"heapBytes"`   // in use
	MemoryBytes     uint64 `json:"memoryBytes"` // that the runtime has of the system
	GCs             uint64 `json:"gcs"`
	OpenFiles       int    `json:"openFiles"` // descriptors; -1 if it is not known
	OpenFilesMax    int    `json:"openFilesMax"`
	CPUMs           int64  `json:"cpuMs"` // spent, user and system; -1 if it is not known
	GoMemLimitBytes int64  `json:"goMemLimitBytes"`
}

// Totals are the numbers of the engine: see engine.Stats.
type Totals struct {
	Connections   int    `json:"connections"`
	Most          int    `json:"most"`
	Open          int    `json:"open"`
	Accepted      uint64 `json:"accepted"`
	Dialled       uint64 `json:"dialled"`
	Closed        uint64 `json:"closed"`
	DialFailed    uint64 `json:"dialFailed"`
	Refused       uint64 `json:"refused"`
	LoopHeld      uint64 `json:"loopHeld"`
	MessagesIn    uint64 `json:"messagesIn"`
	MessagesOut   uint64 `json:"messagesOut"`
	BytesIn       uint64 `json:"bytesIn"`
	BytesOut      uint64 `json:"bytesOut"`
	MessagesSent  uint64 `json:"messagesSent"`
	Dropped       uint64 `json:"dropped"`
	Replaced      uint64 `json:"replaced"`
	Discarded     uint64 `json:"discarded"`
	RateLimited   uint64 `json:"rateLimited"`
	TakeoverBytes int    `json:"takeoverBytes"`
	BufferBytes   int64  `json:"bufferBytes"` // of the budget, in use
	BufferMax     int64  `json:"bufferBytesMax"`
	Backpressure  int    `json:"backpressure"` // open connections for which too much waits
	QueuedBytes   int64  `json:"queuedBytes"`  // that wait for a loop or for the kernel
	GoRunning     int    `json:"goRunning"`    // functions of Conn.Go
	GoWaiting     int    `json:"goWaiting"`
}

// Loop is an event loop.
type Loop struct {
	Index       int     `json:"index"`
	Connections int     `json:"connections"`
	Posts       int     `json:"posts"`      // that wait in its inbox
	InboxBytes  int64   `json:"inboxBytes"` // of these and their payloads
	Turns       uint64  `json:"turns"`      // since the start
	Load        float64 `json:"load"`       // share of the last seconds in which it was busy, 0 to 1: measured with engine.Config.Timings, else by some looks; -1 if CallbackWarnAfter is NoLimit as well
	TurnMs      float64 `json:"turnMs"`     // mean length of a turn in these seconds; -1 as above
	Held        uint64  `json:"held"`       // callbacks and turns that held it longer than CallbackWarnAfter, since the start
	InTurn      bool    `json:"inTurn"`     // now
	HeldMs      int64   `json:"heldMs"`     // for how long this turn has been seen to last; 0: it is short
	Callback    string  `json:"callback"`   // what it is calling now: "OnMessage", "timer"; "" nothing
	Conn        uint64  `json:"connection"` // the ID of the connection for which it does; 0: none
}

// Listener is an address.
type Listener struct {
	Name               string `json:"name"` // such as wss://127.0.0.1:8090: what Connection.Listener has
	Connections        int    `json:"connections"`
	HalfOpen           int    `json:"halfOpen"`
	Accepted           uint64 `json:"accepted"`
	Refused            uint64 `json:"refused"`
	TLSFailed          uint64 `json:"tlsFailed"`
	CertificateExpires string `json:"certificateExpires"` // "" without, or not known
	Packets            uint64 `json:"packets"`
	PacketsTooLong     uint64 `json:"packetsTooLong"`
	PacketsSent        uint64 `json:"packetsSent"`
}

// Hub is what is on this node of the hub.
type Hub struct {
	Clients       int    `json:"clients"`
	Users         int    `json:"users"`
	Channels      int    `json:"channels"`
	Subscriptions int    `json:"subscriptions"`
	BrokerError   string `json:"brokerError"` // "" if the broker works, or does not say
}

// Drain is how far a stop in stages has come: see engine.DrainProgress.
type Drain struct {
	Stage string `json:"stage"` // "not ready", "not accepting", "closing", "ending", "ended"
	Total int    `json:"total"` // connections
	Left  int    `json:"left"`
}

// Health is what Config.Health says.
type Health struct {
	Live  Verdict `json:"live"`
	Ready Verdict `json:"ready"`
}

// Verdict is one answer of a health check.
type Verdict struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"` // why not; [] if OK
}

// Links are addresses, relative to the page, of what else there is; "" if it is not there.
type Links struct {
	Metrics string `json:"metrics"` // "metrics"
	Profile string `json:"profile"` // "debug/pprof/": needs the right to change
}

// Connections is the answer of GET api/connections. Its parameters: sort (a field that Sorts lists; default id), order (asc, desc; default
// desc), q (a piece of remote, client, user, subprotocol, handler, or #7: the ID), listener (a name), loop (an index), phase, paused (any, or a reason),
// offset (default 0) and limit (1 to 1000, default 50); offset+limit is at most OffsetMax.
type Connections struct {
	Total       int          `json:"total"`   // on the loops
	Matched     int          `json:"matched"` // by q, listener, loop, phase, paused
	Offset      int          `json:"offset"`
	Limit       int          `json:"limit"`
	AgeMs       int64        `json:"ageMs"`  // of the list: it may be kept for a second
	Silent      []int        `json:"silent"` // loops that did not answer in time: their connections are missing
	Connections []Connection `json:"connections"`
}

// Connection is a line of Connections.
type Connection struct {
	ID          uint64   `json:"id"`
	Loop        int      `json:"loop"`
	Listener    string   `json:"listener"` // "" if it came through Engine.Upgrade or Dial
	Origin      string   `json:"origin"`   // "accepted", "mounted" (Engine.Upgrade), "dialled"
	Remote      string   `json:"remote"`   // the peer's address
	Client      string   `json:"client"`   // the client's IP address, if a proxy named it; else that of remote
	User        string   `json:"user"`     // see engine.Config.Describe; of the hub, the user's name
	Phase       string   `json:"phase"`    // "opening", "open", "closing", "ending"
	Protocol    string   `json:"protocol"` // "websocket", or the scheme, such as "tcp"
	Subprotocol string   `json:"subprotocol"`
	Handler     string   `json:"handler"` // the function that gets its messages, such as "main.(*game).onMessage"
	TLS         bool     `json:"tls"`
	Compression string   `json:"compression"` // "": none; "permessage-deflate", with "; takeover" if contexts are kept
	AgeMs       int64    `json:"ageMs"`       // since it came to its loop
	BytesIn     uint64   `json:"bytesIn"`
	BytesOut    uint64   `json:"bytesOut"`
	MessagesIn  uint64   `json:"messagesIn"`
	MessagesOut uint64   `json:"messagesOut"`
	Dropped     uint64   `json:"dropped"`
	Replaced    uint64   `json:"replaced"`
	RateLimited uint64   `json:"rateLimited"`
	Queued      int      `json:"queuedBytes"`
	Paused      []string `json:"paused"` // why it is not read: "backlog", "user", "offload", "rate", "hold", "upgrade", "turn", "pipe", "operator"
	Topics      int      `json:"topics"` // subscriptions
	Tapped      bool     `json:"tapped"` // somebody looks at its frames

	// What served.complete needs.
	conn    *engine.Conn
	handler *engine.Handler
	client  netip.Addr
}

// Sorts are the values of the parameter sort.
var Sorts = []string{"id", "age", "bytesIn", "bytesOut", "messagesIn", "messagesOut", "queued", "dropped", "topics", "remote", "client", "user", "loop", "listener", "phase", "handler"}

// OffsetMax bounds offset+limit of GET api/connections.
const OffsetMax = 10_000

// ConnectionDetail is the answer of GET api/connections/{id}.
type ConnectionDetail struct {
	Connection
	Local          string   `json:"local"`         // this end's address
	TLSVersion     string   `json:"tlsVersion"`    // such as "TLS 1.3"; "" without
	TLSCipher      string   `json:"tlsCipher"`     // such as "TLS_AES_128_GCM_SHA256"
	TLSServerName  string   `json:"tlsServerName"` // that the client asked for
	State          string   `json:"state"`         // the type of Conn.State, such as "*main.player"; never what it holds
	Congested      bool     `json:"congested"`     // the kernel takes no more
	PingUnanswered bool     `json:"pingUnanswered"`
	TopicNames     []string `json:"topicNames"` // of the first TopicsShown
	HubClient      string   `json:"hubClient"`  // its ID in the hub; ""
	Channels       []string `json:"channels"`   // of the hub, of the first TopicsShown
}

// TopicsShown bounds the topics and channels of a ConnectionDetail.
const TopicsShown = 100

// GET api/connections/{id}/frames is a stream of Server-Sent Events. With payload=1, which needs the right to change, frames carry what they
// hold. The events, each with a JSON object as its data: "start" {"id": 7}; "frames" [Frame…], a few at a time; "dropped" {"frames": 12}, if the
// reader was too slow; "end" {"reason": "…"}, after which the client should close.

// Frame is a frame, or a piece of a stream that has no frames.
type Frame struct {
	At      int64  `json:"atMs"`   // since the stream began
	In      bool   `json:"in"`     // from the peer
	Opcode  string `json:"opcode"` // "text", "binary", "continuation", "close", "ping", "pong"; "data" of a protocol without frames; else its number
	FIN     bool   `json:"fin"`
	RSV     uint8  `json:"rsv"` // the three bits: 4 is RSV1, a compressed message
	Masked  bool   `json:"masked"`
	Length  int64  `json:"length"`            // of the payload
	Payload []byte `json:"payload,omitempty"` // base64, the first PayloadShown bytes as they are in the frame, unmasked; if it was asked for
}

// PayloadShown bounds Frame.Payload.
const PayloadShown = 512

// CloseRequest is the body of POST api/connections/{id}/close. The answer is 202, as that of POST …/pause and …/resume, whose body is empty or
// {}: what was asked for is on its way to the loop.
type CloseRequest struct {
	Code   uint16 `json:"code"`   // 0: 1001; 1000 to 4999, as a close frame may have it
	Reason string `json:"reason"` // at most 123 bytes
	Abort  bool   `json:"abort"`  // without a closing handshake; code and reason are ignored
}

// Names is the answer of GET api/channels and GET api/users: parameters after (a name), limit (1 to 1000, default 100), and of channels
// pattern (default *). Without a hub it is 404.
type Names struct {
	Items   []Name   `json:"items"`
	More    bool     `json:"more"`    // there are more behind the last one
	Missing []string `json:"missing"` // nodes that did not answer
}

// Name is a channel or a user.
type Name struct {
	Name    string `json:"name"`
	Clients int    `json:"clients"`
}

// Settings is the answer of GET api/config: what is in force.
type Settings struct {
	Engine    []Setting         `json:"engine"`
	Listeners []ListenerSetting `json:"listeners"`
}

// ListenerSetting is what is in force on a listener.
type ListenerSetting struct {
	Name     string    `json:"name"`
	Settings []Setting `json:"settings"` // those that are others than the engine's
}

// Setting is a field of engine.Config.
type Setting struct {
	Name   string `json:"name"`
	Value  string `json:"value"`  // "no limit", "30s", "65536", "set", "a function", "not set"
	Hidden bool   `json:"hidden"` // Value only says whether it is set: it is a secret or a function
}

// Error is the body of answers with a status of 400 and above, but for 405.
type Error struct {
	Error string `json:"error"` // what went wrong, and what to do
}
