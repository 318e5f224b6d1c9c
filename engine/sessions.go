package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// Sessions keeps what the program knows of a client when its connection is lost,
// and hands it to the client's next connection, which names it by a token:
//
//	sessions, err := engine.NewSessions(e, engine.SessionsConfig{OnExpire: save})
//
//	token, err := sessions.Begin(c, player)   // in a callback of c: give the token to the client
//	err := sessions.Resume(c, token, func(state any) { … }) // in a callback of its next connection
//	err := sessions.End(c)                    // it left on purpose
//
// # Whose the state is
//
// A state belongs to one side at a time, and so needs no lock of its own:
//
//   - from Begin, or from the function given to Resume, to the callbacks of that
//     connection, functions of Conn.Go and timers included, until its OnClose has
//     returned, and the functions that OnClose gave to Conn.Go;
//   - then to nobody for the grace period, at most;
//   - then to the function of Resume and the callbacks of that connection, or to
//     OnExpire, for good.
//
// Each of these happens before the next, on whatever loops they run.
//
// # The newest wins
//
// A client often knows of the loss of its connection before the server does. If
// the old connection is still there when another one resumes its session, then
// the old one is closed with 1008 and ErrResumed, whose OnClose runs at once, on
// its own loop. Only then does the function of Resume run, on the loop of the
// new one. Until it does, the new connection is not read: its function comes
// before the messages behind the one with the token. If the old one has
// functions of Conn.Go, or its OnClose gives it some, all this waits until they
// have returned: what they saved is there to be loaded.
// (Where reading cannot be paused, on macOS, messages may come before.)
//
// If several connections resume one session, the last to call Resume gets the
// state; the others are closed with 1008. If the new connection is lost before
// it got the state, the grace period begins once more.
type Sessions struct {
	e    *Engine
	cfg  SessionsConfig
	seal seal

	mu      sync.Mutex // guards what follows, and every session; not held while the program is called
	byID    map[sessionID]*session
	byConn  map[*Conn]*session // of holders and heirs
	stopped bool               // the loops have ended
}

// SessionsConfig says how long lost connections are waited for. A value out of
// its range (docs/LIMITS.md) is an error of NewSessions.
type SessionsConfig struct {
	// Key signs tokens (HMAC-SHA256): at least 16 secret bytes. Nil is a random
	// one for this process.
	Key []byte

	Grace         time.Duration // that a state waits for its client, after the loss of a connection
	TokenLifetime time.Duration // from Begin or Token on; then the token resumes nothing
	Max           int           // sessions, of open connections and waiting; above: ErrSessionsFull

	// OnExpire gets the state of each session that nobody resumed, once: on the
	// loop of the lost connection, like a timer's function, when Grace has
	// passed. What still waits when the engine ends expires then: on the goroutine
	// of Shutdown, before it and Run return, when all loops have ended. (As with
	// OnClose, that of a connection whose function of Conn.Go outlasts the
	// shutdown comes later, on that goroutine.) A panic is logged.
	OnExpire func(state any)
}

var sessionLimits = [...]limit{
	{"Grace", nil, 30 * sec, 10 * ms, day, 0},
	{"TokenLifetime", nil, day, sec, 365 * day, 0},
	{"Max", nil, 64 * kib, 1, most, most},
}

func (c *SessionsConfig) fields() [len(sessionLimits)]any {
	return [...]any{&c.Grace, &c.TokenLifetime, &c.Max}
}

// The errors of Sessions, for errors.Is. A token is a client's word: none of
// them is a reason to trust or to log what it sent.
var (
	// ErrSessionForged: the token was not signed with this Key, or is no token.
	ErrSessionForged = errors.New("engine: this is no token of a session here")

	// ErrSessionExpired: the token was right, but its session is over: Grace
	// passed or it was ended; or its TokenLifetime has passed.
	ErrSessionExpired = errors.New("engine: the session is over")

	// ErrSessionUnknown: the token was signed with this Key by other Sessions,
	// such as those of this program before it was started again.
	ErrSessionUnknown = errors.New("engine: the session was not begun here")

	// ErrSessionsFull: there are SessionsConfig.Max sessions.
	ErrSessionsFull = errors.New("engine: there are too many sessions")

	// ErrSessionNone: the connection has no session, or another has resumed it.
	ErrSessionNone = errors.New("engine: the connection has no session")

	// ErrResumed is found in CloseError.Err of a connection that was closed, with
	// 1008, because another one resumed its session.
	ErrResumed = errors.New("engine: another connection has resumed the session")
)

func errResumed() *CloseError {
	return &CloseError{Code: protocol.ClosePolicyViolation, Reason: "another connection has resumed this session", Err: ErrResumed}
}

// session is one state and whose it is.
type session struct {
	id     sessionID
	state  any
	holder *Conn     // has it, until its OnClose has returned
	heir   *Conn     // has resumed it and waits for that
	give   func(any) // the heir's
	grace  *Timer    // runs while there is neither
	losses int       // tells one grace period from the next
}

// NewSessions makes an empty registry for connections of e.
func NewSessions(e *Engine, cfg SessionsConfig) (*Sessions, error) {
	for i, field := range cfg.fields() {
		if err := sessionLimits[i].settle("SessionsConfig", field); err != nil {
			return nil, err
		}
	}
	s := &Sessions{e: e, cfg: cfg, byID: map[sessionID]*session{}, byConn: map[*Conn]*session{}}
	if err := s.seal.init(cfg.Key); err != nil {
		return nil, err
	}
	s.cfg.Key = nil
	e.life.mu.Lock()
	e.sessions = append(e.sessions, s)
	e.life.mu.Unlock()
	return s, nil
}

// Begin makes a session of c with a state of its own, and a token for it. Give
// the token to the client in a message, over TLS; a client presents it in a
// message, in a header, or as one more name in Sec-WebSocket-Protocol, where it
// fits as it is. It does not belong into a URL: servers, proxies and browsers
// write those into logs and histories, and whoever reads it there has the
// session.
//
// A token stays the same through a Resume: were it replaced, then a client whose
// connection is lost with the answer would be locked out. Whoever steals one can
// take the session as long as it is valid; the client then sees 1008. Token makes
// another one, for a connection that outlives TokenLifetime.
//
// Begin is for callbacks of c, or what is posted to its loop (Conn.Loop), and fails
// elsewhere. It fails with ErrClosed, ErrSessionsFull, or if c
// has a session.
func (s *Sessions) Begin(c *Conn, state any) (token string, err error) {
	if err := s.check(c); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= s.cfg.Max {
		return "", ErrSessionsFull
	}
	if err := s.attach(c); err != nil {
		return "", err
	}
	x := &session{id: newSessionID(), state: state, holder: c}
	s.byID[x.id], s.byConn[c] = x, x
	return s.token(x), nil
}

// Resume has c take up the session of a token. It fails with ErrSessionForged,
// ErrSessionExpired, ErrSessionUnknown, ErrClosed, or if c has a session: then
// nothing has happened, and c may try another token, or Begin. Nil means that
// the session is now that of c, and that give is called with its state, on the
// loop of c, later: never inside Resume, and before the next message of c; unless
// c is closed or End is called meanwhile.
//
// Resume is for callbacks of c, or what is posted to its loop (Conn.Loop), and fails
// elsewhere. OnUpgrade cannot call it; OnOpen can.
func (s *Sessions) Resume(c *Conn, token string, give func(state any)) error {
	if give == nil {
		panic("engine: Sessions.Resume was given no function")
	}
	id, err := s.seal.open(token, s.now())
	if err != nil {
		return err
	}
	if err := s.check(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	if x == nil {
		return ErrSessionExpired
	}
	if err := s.attach(c); err != nil {
		return err
	}
	c.pause(pausedResume)
	s.byConn[c] = x
	if old := x.heir; old != nil { // it got nothing, and has nothing to hand over
		delete(s.byConn, old)
		_ = old.w.post(post{do: func() { _ = old.close(errResumed()) }, own: true})
	}
	x.heir, x.give = c, give
	if old := x.holder; old != nil {
		_ = old.w.post(post{do: old.supersede, own: true}) // fails when old is gone, or about to
	} else {
		s.promote(x)
	}
	return nil
}

// Token makes a new token for the session of c, valid for TokenLifetime from now
// on; older ones stay valid for theirs. Any goroutine may call it. It fails with
// ErrSessionNone.
func (s *Sessions) Token(c *Conn) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(c)
	if x == nil {
		return "", ErrSessionNone
	}
	return s.token(x), nil
}

// End ends the session of c: nobody can resume it, OnExpire is not called, and c
// stays as it is. Called in OnClose, it keeps the grace period from beginning:
// for a client that has left on purpose. Any goroutine may call it. It fails with
// ErrSessionNone.
func (s *Sessions) End(c *Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(c)
	if x == nil {
		return ErrSessionNone
	}
	s.forget(x)
	if x.heir == c {
		_ = c.w.post(post{do: func() { c.unpause(pausedResume) }, own: true})
	}
	return nil
}

// token makes a token for x. s.mu is held, or nobody else knows x.
func (s *Sessions) token(x *session) string {
	return s.seal.token(x.id, s.now()+s.cfg.TokenLifetime.Milliseconds())
}

// now is the time for tokens, in milliseconds since 1970.
func (s *Sessions) now() int64 { return s.e.began.Add(s.e.elapsed()).UnixMilli() }

// Len is the number of sessions, of open connections and waiting.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
