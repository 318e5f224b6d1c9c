package recipes

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/sockmill/sockmill/engine"
)

// database stands for a *sql.DB, whose calls block.
type database struct {
	mu   sync.Mutex
	rows []string
}

func (d *database) insert(ctx context.Context, row string) (id int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rows = append(d.rows, row)
	return len(d.rows), ctx.Err()
}

// A callback must not block, so what waits for a database runs off the loop, in
// Conn.Go. Meanwhile nothing is read from this connection: its messages are saved
// one after the other, in order, and no queue grows. ctx does not end when the
// client leaves: what it sent before is saved, and so is what OnClose saves.
func Example_database() {
	var db database
	e := server(engine.Config{}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			err := c.Go(m, func(ctx context.Context, m engine.Message) { // m is a copy
				id, err := db.insert(ctx, m.Text())
				if err != nil {
					log.Println("saving a message:", err)
					_ = c.SendText("sorry")
					return
				}
				_ = c.SendText(fmt.Sprint("saved as ", id)) // fails only if c is closing
			})
			if err != nil {
				log.Println(err)
			}
		},
		OnClose: func(c *engine.Conn, _ *engine.CloseError) { // the end of Run waits for it
			err := c.Go(engine.Message{}, func(ctx context.Context, _ engine.Message) {
				if _, err := db.insert(ctx, fmt.Sprint("guest ", c.ID(), " left")); err != nil {
					log.Println("saving who left:", err)
				}
			})
			if err != nil {
				log.Println(err)
			}
		},
	})
	client, stop := serve(e)
	defer stop()

	v, _ := visit(client, engine.Dial{URL: "ws://" + e.Addr().String() + "/"})
	for _, text := range []string{"one", "two", "three"} {
		_ = v.SendText(text)
	}
	fmt.Println(<-v.heard)
	fmt.Println(<-v.heard)
	fmt.Println(<-v.heard)
	// Output:
	// saved as 1
	// saved as 2
	// saved as 3
}
