package recipes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/sockmill/sockmill/engine"
)

// The engine is an http.Handler: it takes the connections of its route away from
// the other server, onto its own loops. It listens nowhere itself, but has to run.
func Example_mounted() {
	e, err := engine.New(engine.Config{}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			u.State = u.Request.Path
			return nil
		},
		OnOpen: func(c *engine.Conn) { _ = c.SendText("hello from " + c.State().(string)) },
	})
	if err != nil {
		panic(err)
	}
	client, stop := serve(e)
	defer stop()

	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.GET("/gin", gin.WrapH(e))

	o := echo.New()
	o.GET("/echo", echo.WrapHandler(e))

	r := chi.NewRouter()
	r.Handle("/chi", e)

	mux := http.NewServeMux()
	mux.Handle("GET /mux", e)

	for path, router := range map[string]http.Handler{"/gin": g, "/echo": o, "/chi": r, "/mux": mux} {
		s := httptest.NewServer(router)
		v, status := visit(client, engine.Dial{URL: "ws" + strings.TrimPrefix(s.URL, "http") + path})
		fmt.Println(status, <-v.heard)
		v.leave()
		s.Close()
	}
	// Unordered output:
	// 101 hello from /gin
	// 101 hello from /echo
	// 101 hello from /chi
	// 101 hello from /mux
}
