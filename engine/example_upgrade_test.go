package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// OnUpgrade lets in who has a session, and chooses a subprotocol.
func ExampleUpgrade() {
	users := map[string]string{"s3cret": "Ada"}
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			user, ok := users[u.Request.Cookie("session")]
			if !ok {
				return engine.Refuse(http.StatusUnauthorized, "log in first")
			}
			if u.Request.Fields.HasToken("Sec-WebSocket-Protocol", "chat.v2") {
				u.Subprotocol = "chat.v2"
			}
			u.State = user
			return nil
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			_ = c.SendText(c.State().(string) + " said " + m.Text())
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	fmt.Println(handshake(e, "/", "Cookie: session=s3cret", "Sec-WebSocket-Protocol: chat.v1, chat.v2"))
	fmt.Println(handshake(e, "/"))
	// Output:
	// 101 Switching Protocols, Sec-WebSocket-Protocol: chat.v2
	// 401 Unauthorized
}

// Another Handler for each path.
func ExampleUpgrade_handler() {
	paths := map[string]*engine.Handler{
		"/echo": {OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) }},
		"/time": {OnOpen: func(c *engine.Conn) {
			_ = c.SendText(time.Now().Format(time.TimeOnly))
			_ = c.Close(protocol.CloseNormal, "")
		}},
	}
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if u.Handler = paths[u.Request.Path]; u.Handler == nil {
				return engine.Refuse(http.StatusNotFound, "no such endpoint")
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	fmt.Println(handshake(e, "/echo"))
	fmt.Println(handshake(e, "/nowhere"))
	// Output:
	// 101 Switching Protocols
	// 404 Not Found
}

// A session that is looked up where it takes time. The loop serves others
// meanwhile; ctx ends with Config.HandshakeTimeout, or when the client leaves.
func ExampleUpgrade_Go() {
	find := func(ctx context.Context, session string) (user string, err error) { // SQL, Redis
		if session == "s3cret" {
			return "Ada", ctx.Err()
		}
		return "", errors.New("no such session")
	}
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			return u.Go(func(ctx context.Context) error {
				user, err := find(ctx, u.Request.Cookie("session"))
				if err != nil {
					return engine.Refuse(http.StatusUnauthorized, "log in first")
				}
				u.State = user
				return nil
			})
		},
		OnOpen: func(c *engine.Conn) { fmt.Println(c.State(), "is here") },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	fmt.Println(handshake(e, "/"))
	fmt.Println(handshake(e, "/", "Cookie: session=s3cret"))
	// Output:
	// 401 Unauthorized
	// Ada is here
	// 101 Switching Protocols
}

// bridge is a client and the connection to another server that was made for it.
type bridge struct {
	client, server *engine.Conn
	dialled        chan error
}

// A proxy: the server behind it is asked first, and the client gets its status
// and its subprotocol. Each message goes on to the other side.
func ExampleUpgrade_Go_proxy() {
	behind, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if u.Request.Path != "/chat" {
				return engine.Refuse(http.StatusNotFound, "no such room")
			}
			u.Subprotocol = "chat.v1"
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	var e *engine.Engine
	toServer := &engine.Handler{
		OnOpen: func(c *engine.Conn) {
			b := c.State().(*bridge)
			b.server = c
			_ = c.PauseReading() // until the client is there
			b.dialled <- nil
		},
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.State().(*bridge).client.Send(m) },
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			if b := c.State().(*bridge); b.client != nil {
				_ = b.client.Close(protocol.CloseGoingAway, "the server has gone")
			}
		},
	}
	e, err = engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 1}, engine.Handler{ // one loop, so that a bridge needs no lock
		OnUpgrade: func(u *engine.Upgrade) error {
			return u.Go(func(ctx context.Context) error {
				b := &bridge{dialled: make(chan error, 1)}
				err := e.Dial(ctx, engine.Dial{
					URL: "ws://" + behind.Addr().String() + u.Request.Target, Handler: toServer, State: b,
					Subprotocols: slices.Collect(u.Request.Fields.Tokens("Sec-WebSocket-Protocol")),
					OnFailure:    func(e *engine.DialError) { b.dialled <- e }, // also when ctx ends
				})
				if err == nil {
					err = <-b.dialled
				}
				if err != nil {
					return err // the server's status, or 502
				}
				context.AfterFunc(ctx, func() { _ = b.server.Close(protocol.CloseGoingAway, "the client has gone") })
				u.State, u.Subprotocol = b, b.server.Subprotocol()
				return nil
			})
		},
		OnOpen: func(c *engine.Conn) {
			b := c.State().(*bridge)
			b.client = c
			if b.server.ResumeReading() != nil {
				_ = c.Close(protocol.CloseGoingAway, "the server has gone")
			}
		},
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.State().(*bridge).server.Send(m) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(behind)()
	defer run(e)()

	fmt.Println(handshake(e, "/chat", "Sec-WebSocket-Protocol: chat.v2, chat.v1"))
	fmt.Println(handshake(e, "/nowhere"))
	// Output:
	// 101 Switching Protocols, Sec-WebSocket-Protocol: chat.v1
	// 404 Not Found
}

// A route of a program's own http.Server: who the user is, middleware knows; which
// room is meant, the router.
func ExampleEngine_Upgrade() {
	type guest struct{ user, room string }
	e, err := engine.New(engine.Config{}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			g := c.State().(guest)
			fmt.Println(g.user, "enters", g.room)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	mux := http.NewServeMux()
	mux.HandleFunc("/rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth() // or what the middleware before this found
		if !ok {
			http.Error(w, "log in first", http.StatusUnauthorized)
			return
		}
		if err := e.Upgrade(w, r, engine.Upgrade{State: guest{user, r.PathValue("room")}}); err != nil {
			log.Println(err)
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	fmt.Println(handshakeAt(server.Listener.Addr(), "/rooms/blue", "Authorization: Basic QWRhOg=="))
	fmt.Println(handshakeAt(server.Listener.Addr(), "/rooms/blue"))
	// Output:
	// Ada enters blue
	// 101 Switching Protocols
	// 401 Unauthorized
}
