"""People's data: what stands for a contact whose data was erased, and who asks for it."""
