package stack

import (
	"context"
	"net/http"
	"strconv"

	"github.com/jackc/pgx/v5"

	"darkroom/internal/local"
)

// runOwn runs a part that is in Darkroom's own binary.
func runOwn(e Env) []string {
	return []string{
		e.Binary(), "part", e.Name(), "--dir", e.Data(), "--port", strconv.Itoa(e.Port(e.Name())),
	}
}

func postgresAnswers(ctx context.Context, e Env) error {
	dsn, err := local.PostgresDSN(e.Data(), e.Port("postgres"))
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func postgresAddress(e Env) (string, []Variable, error) {
	dsn, err := local.PostgresDSN(e.Data(), e.Port("postgres"))
	return e.Addr("postgres"), []Variable{{"DARKROOM_POSTGRES", dsn}}, err
}

// s3Answers takes any answer: what is asked without a signature is refused.
func s3Answers(ctx context.Context, e Env) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Addr("s3")+"/", nil)
	if err != nil {
		return err
	}
	res, err := asking.Do(req)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func s3Address(e Env) (string, []Variable, error) {
	c, err := local.S3Config(e.Data(), e.Port("s3"), "")
	return c.Endpoint, []Variable{
		{"DARKROOM_S3_ENDPOINT", c.Endpoint}, {"DARKROOM_S3_ACCESS_KEY", c.AccessKey}, {"DARKROOM_S3_SECRET_KEY", c.SecretKey},
	}, err
}
