// Package session keeps what the program knows of a client when its connection
// is lost, and hands it to the client's next connection, which names it by a
// token:
//
//	sessions, err := session.New(e, session.Config{OnExpire: save})
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
//     connection, functions of engine.Conn.Go and timers included, until its
//     OnClose has returned, and the functions that OnClose gave to Go;
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
// functions of Go, or its OnClose gives it some, all this waits until they have
// returned: what they saved is there to be loaded. (Where
// reading cannot be paused, on macOS, messages may come before.)
//
// If several connections resume one session, the last to call Resume gets the
// state; the others are closed with 1008. If the new connection is lost before
// it got the state, the grace period begins once more.
package session

import (
	"errors"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/protocol"
)

// Store has the sessions of an Engine. Its methods may be called from any
// goroutine, unless said otherwise.
type Store struct {
	e     *engine.Engine
	loops []*engine.Loop // of e
	cfg   Config
	seal  seal
	now   func() time.Time                                        // in tests another time
	after func(*engine.Loop, time.Duration, func()) *engine.Timer // in tests another time

	mu      sync.Mutex // guards what follows, and every session; not held while the program is called
	byID    map[sessionID]*session
	byConn  map[*engine.Conn]*session // of holders and heirs
	stopped bool                      // the loops have ended
}

// Config says how long lost connections are waited for. A value out of its range
// (docs/LIMITS.md) is an error of New.
type Config struct {
	// Key signs tokens (HMAC-SHA256): at least 16 secret bytes. Nil is a random
	// one for this process.
	Key []byte

	Grace         time.Duration // that a state waits for its client, after the loss of a connection
	TokenLifetime time.Duration // from Begin or Token on; then the token resumes nothing
	Max           int           // sessions, of open connections and waiting; above: ErrFull

	// OnExpire gets the state of each session that nobody resumed, once: on the
	// loop of the lost connection, like a timer's function, when Grace has
	// passed. What still waits when the engine ends expires then: on the goroutine
	// of Shutdown, before it and Run return, when all loops have ended. (As with
	// OnClose, that of a connection whose function of Conn.Go outlasts the
	// shutdown comes later, on that goroutine.) A panic is logged.
	OnExpire func(state any)
}

const day = 24 * time.Hour

var limits = [...]limit.Row{
	{Name: "Grace", Default: int64(30 * time.Second), Min: int64(10 * time.Millisecond), Max: int64(day)},
	{Name: "TokenLifetime", Default: int64(day), Min: int64(time.Second), Max: int64(365 * day)},
	{Name: "Max", Default: 65_536, Min: 1, Max: limit.Unbounded, WithoutLimit: limit.Unbounded},
}

func (c *Config) fields() [len(limits)]any { return [...]any{&c.Grace, &c.TokenLifetime, &c.Max} }

// The errors of a Store, for errors.Is. A token is a client's word: none of
// them is a reason to trust or to log what it sent.
var (
	// ErrForged: the token was not signed with this Key, or is no token.
	ErrForged = errors.New("session: this is no token of a session here")

	// ErrExpired: the token was right, but its session is over: Grace passed or it
	// was ended; or its TokenLifetime has passed.
	ErrExpired = errors.New("session: the session is over")

	// ErrUnknown: the token was signed with this Key by another Store, such as that
	// of this program before it was started again.
	ErrUnknown = errors.New("session: the session was not begun here")

	// ErrFull: there are Config.Max sessions.
	ErrFull = errors.New("session: there are too many sessions")

	// ErrNone: the connection has no session, or another has resumed it.
	ErrNone = errors.New("session: the connection has no session")

	// ErrResumed is found in engine.CloseError.Err of a connection that was closed,
	// with 1008, because another one resumed its session.
	ErrResumed = errors.New("session: another connection has resumed the session")
)

func errResumed() *engine.CloseError {
	return &engine.CloseError{Code: protocol.ClosePolicyViolation, Reason: "another connection has resumed this session", Err: ErrResumed}
}

// session is one state and whose it is.
type session struct {
	id     sessionID
	state  any
	holder *engine.Conn  // has it, until its OnClose has returned
	heir   *engine.Conn  // has resumed it and waits for that
	newest *engine.Conn  // has begun or resumed it last; nil when that is lost
	give   func(any)     // the heir's
	read   func(func())  // ends the heir's wait: see engine.Conn.Hold
	grace  *engine.Timer // runs while there is neither
	losses int           // tells one grace period from the next
}

// New makes an empty Store for connections of e. It fails with engine.ErrStopped
// if e has ended.
func New(e *engine.Engine, cfg Config) (*Store, error) {
	for i, field := range cfg.fields() {
		if err := limits[i].Settle("session", "Config", field); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	s := &Store{
		e: e, loops: e.Loops(), cfg: cfg, byID: map[sessionID]*session{}, byConn: map[*engine.Conn]*session{},
		now:   func() time.Time { return began.Add(time.Since(began)) }, // setting the clock of the machine makes no token older
		after: (*engine.Loop).After,
	}
	if err := s.seal.init(cfg.Key); err != nil {
		return nil, err
	}
	s.cfg.Key = nil
	if err := e.AtEnd(s.end); err != nil {
		return nil, err
	}
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
// Begin is for callbacks of c, or what is posted to its loop (engine.Conn.Loop), and fails
// elsewhere. It fails with engine.ErrClosed, ErrFull, or if c
// has a session.
func (s *Store) Begin(c *engine.Conn, state any) (token string, err error) {
	if err := s.follow(c); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.byID) >= s.cfg.Max:
		return "", ErrFull
	case s.byConn[c] != nil:
		return "", errSecond
	}
	x := &session{id: newSessionID(), state: state, holder: c, newest: c}
	s.byID[x.id], s.byConn[c] = x, x
	return s.token(x), nil
}

// Resume has c take up the session of a token. It fails with ErrForged,
// ErrExpired, ErrUnknown, engine.ErrClosed, or if c has a session: then
// nothing has happened, and c may try another token, or Begin. Nil means that
// the session is now that of c, and that give is called with its state, on the
// loop of c, later: never inside Resume, and before the next message of c; unless
// c is closed or End is called meanwhile.
//
// Resume is for callbacks of c, or what is posted to its loop (engine.Conn.Loop), and fails
// elsewhere. OnUpgrade cannot call it; OnOpen can.
func (s *Store) Resume(c *engine.Conn, token string, give func(state any)) error {
	if give == nil {
		panic("session: Store.Resume was given no function")
	}
	id, err := s.seal.open(token, s.now().UnixMilli())
	if err != nil {
		return err
	}
	if err := s.follow(c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	switch {
	case x == nil:
		return ErrExpired
	case s.byConn[c] != nil:
		return errSecond
	}
	read, err := c.Hold()
	if err != nil {
		return err
	}
	s.byConn[c] = x
	if old := x.heir; old != nil { // it got nothing, and has nothing to hand over
		delete(s.byConn, old)
		_ = old.CloseNow(errResumed())
	}
	x.heir, x.newest, x.give, x.read = c, c, give, read
	if old := x.holder; old != nil {
		_ = old.CloseNow(errResumed()) // fails when old is gone, or about to
	} else {
		s.promote(x)
	}
	return nil
}

// Token makes a new token for the session of c, valid for TokenLifetime from now
// on; older ones stay valid for theirs. Any goroutine may call it. It fails with
// ErrNone.
func (s *Store) Token(c *engine.Conn) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(c)
	if x == nil {
		return "", ErrNone
	}
	return s.token(x), nil
}

// End ends the session of c: nobody can resume it, OnExpire is not called, and c
// stays as it is. Called in OnClose, it keeps the grace period from beginning:
// for a client that has left on purpose. Any goroutine may call it. It fails with
// ErrNone.
func (s *Store) End(c *engine.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.of(c)
	if x == nil {
		return ErrNone
	}
	s.forget(x)
	if x.heir == c {
		x.read(nil)
	}
	return nil
}

// token makes a token for x. s.mu is held, or nobody else knows x.
func (s *Store) token(x *session) string {
	return s.seal.token(x.id, s.now().Add(s.cfg.TokenLifetime).UnixMilli())
}

// Len is the number of sessions, of open connections and waiting.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}
