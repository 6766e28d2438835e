"""The service: joins the capture, the stages from packets to readings, and the backends."""
