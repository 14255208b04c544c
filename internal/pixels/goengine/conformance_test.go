package goengine_test

import (
	"testing"

	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/pixelstest"
)

func TestConformance(t *testing.T) { pixelstest.Run(t, goengine.New()) }
