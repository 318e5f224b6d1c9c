package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// A server that answers every message with itself.
func Example() {
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:8090"}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			_ = c.Send(m) // fails only if c is closing
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err = e.Run(context.Background()); err != nil { // returns when the context ends
		log.Fatal(err)
	}
}

// A chat with one room: what anybody says, everybody reads.
func ExampleEngine_Broadcast() {
	var e *engine.Engine
	tell := func(text string) {
		_ = e.Broadcast(engine.Message{Type: engine.Text, Data: []byte(text)})
	}
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:8090"}, engine.Handler{
		OnOpen:    func(c *engine.Conn) { tell(fmt.Sprintf("guest %d joined", c.ID())) },
		OnMessage: func(c *engine.Conn, m engine.Message) { tell(fmt.Sprintf("guest %d: %s", c.ID(), m.Data)) },
		OnClose:   func(c *engine.Conn, why *engine.CloseError) { tell(fmt.Sprintf("guest %d left", c.ID())) },
	})
	if err == nil {
		err = e.Run(context.Background())
	}
	if err != nil {
		log.Fatal(err)
	}
}

// A process that only dials: no address, any number of connections, no
// goroutine for each of them.
func ExampleEngine_Dial() {
	server, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(server)()

	client, err := engine.New(engine.Config{}, engine.Handler{})
	if err != nil {
		log.Fatal(err)
	}
	defer run(client)()
	answers := make(chan string)
	err = client.Dial(context.Background(), engine.Dial{
		URL: "ws://" + server.Addr().String() + "/echo",
		Handler: &engine.Handler{
			OnOpen:    func(c *engine.Conn) { _ = c.SendText("hello") },
			OnMessage: func(c *engine.Conn, m engine.Message) { answers <- m.Text() },
		},
		OnFailure: func(e *engine.DialError) { answers <- e.Error() },
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-answers)
	// Output: hello
}

// A database behind Go: ctx does not end when the player leaves, so that moves
// that were accepted are saved. The answer to a question is in vain without who
// asked: that takes Conn.Context. OnClose saves the player, and Run waits for it.
func ExampleConn_Go() {
	happened := make(chan string, 4)
	exec := func(ctx context.Context, query string) error { // such as sql.DB.ExecContext
		select {
		case <-ctx.Done(): // the deadline of a shutdown
			return ctx.Err()
		case happened <- query:
			return nil
		}
	}
	find := func(ctx context.Context, what string) (string, error) { return "found " + what, ctx.Err() }

	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0"}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			err := c.Go(m, func(ctx context.Context, m engine.Message) { // m is a copy
				if query, ok := strings.CutPrefix(m.Text(), "find "); ok {
					if answer, err := find(c.Context(), query); err == nil {
						_ = c.SendText(answer) // fails only if c is closing
					}
					return
				}
				if err := exec(ctx, "move "+m.Text()); err != nil {
					log.Println("a move is lost:", err)
				}
			})
			if err != nil { // too many of this player wait, or the deadline of a shutdown has passed
				log.Println("a move is refused:", err)
			}
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) {
			err := c.Go(engine.Message{}, func(ctx context.Context, _ engine.Message) {
				if err := exec(ctx, "save the player"); err != nil {
					log.Println("a player is not saved:", err)
				}
			})
			if err != nil {
				log.Println("a player is not saved:", err)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	client, err := engine.New(engine.Config{}, engine.Handler{
		OnOpen: func(c *engine.Conn) { _, _ = c.SendText("e2e4"), c.SendText("find Ada") },
		OnMessage: func(c *engine.Conn, m engine.Message) { // the answer
			happened <- m.Text()
			_ = c.SendText("e7e5")
			_ = c.Close(protocol.CloseNormal, "I have to go")
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(client)()
	if err := client.Dial(context.Background(), engine.Dial{URL: "ws://" + e.Addr().String()}); err != nil {
		log.Fatal(err)
	}
	for range 4 {
		fmt.Println(<-happened)
	}
	// Output:
	// move e2e4
	// found Ada
	// move e7e5
	// save the player
}

// An Engine without an address of its own, on a route of a program that runs
// its own http.Server. A handshake that comes before Run has begun gets 503.
func ExampleEngine_ServeHTTP() {
	e, err := engine.New(engine.Config{}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) { _ = c.Send(m) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer run(e)()

	mux := http.NewServeMux()
	mux.Handle("/ws", e)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, path := range []string{"/ws", "/"} {
		r, err := http.Get(server.URL + path) // no handshake
		if err != nil {
			log.Fatal(err)
		}
		_ = r.Body.Close()
		fmt.Println(path, r.Status)
	}
	// Output:
	// /ws 426 Upgrade Required
	// / 200 OK
}

// A world that belongs to one loop: it ticks there, and what players do is posted
// there from the loops on which they live, so that it needs no lock.
func ExampleLoop() {
	var world *engine.Loop
	players := map[uint64]string{} // touched on the loop world only
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 2}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			id, name := c.ID(), c.Request().Path
			_ = world.Post(func() { players[id] = name }) // fails when the engine has ended
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	world = e.Loops()[0]
	started := make(chan int)
	var lobby *engine.Timer
	lobby = world.Every(time.Second/60, func(engine.Tick) {
		if len(players) == 2 {
			started <- len(players)
			lobby.Stop()
		}
	})
	defer run(e)()

	fmt.Println(handshake(e, "/ada"))
	fmt.Println(handshake(e, "/grace"))
	fmt.Println("the game starts with", <-started)
	// Output:
	// 101 Switching Protocols
	// 101 Switching Protocols
	// the game starts with 2
}

// run runs an engine until the function that it returns is called.
func run(e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Println(err)
		}
	}
}

// handshake asks for a WebSocket and tells how the server answered.
func handshake(e *engine.Engine, path string, fields ...string) string {
	return handshakeAt(e.Addr(), path, fields...)
}

func handshakeAt(addr net.Addr, path string, fields ...string) string {
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	head := "GET " + path + " HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if _, err := io.WriteString(nc, head+"\r\n"); err != nil {
		return err.Error()
	}
	r, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	if p := r.Header.Get("Sec-WebSocket-Protocol"); p != "" {
		return r.Status + ", Sec-WebSocket-Protocol: " + p
	}
	return r.Status
}
